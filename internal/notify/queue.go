package notify

import "slices"

// queueMax is how many events wait for one sink. The state of a hundred targets
// fits, with room for what comes meanwhile.
const queueMax = 128

// enqueue adds e to a queue of at most limit events. Where it is full, the oldest
// of the least severe events, e among them, is taken out and returned.
func enqueue(queue []Event, e Event, limit int) (after []Event, out Event, full bool) {
	queue = append(queue, e)
	if len(queue) <= limit {
		return queue, Event{}, false
	}
	least := 0
	for i := range queue {
		if queue[i].Severity.rank() < queue[least].Severity.rank() {
			least = i
		}
	}
	out = queue[least]
	return slices.Delete(queue, least, least+1), out, true
}

// memoryMax is how many keys are remembered. Reminders have keys of their own, so
// that a key is only met again soon after the first time.
const memoryMax = 512

// memory holds the keys of events that were taken, the oldest first. The zero
// memory is ready.
type memory struct{ keys []string }

// add reports whether the key is new, and remembers it.
func (m *memory) add(key string) bool {
	if slices.Contains(m.keys, key) {
		return false
	}
	if len(m.keys) == memoryMax {
		m.keys = slices.Delete(m.keys, 0, 1)
	}
	m.keys = append(m.keys, key)
	return true
}

// forget lets an event of that key be taken again: it was not delivered.
func (m *memory) forget(key string) {
	m.keys = slices.DeleteFunc(m.keys, func(k string) bool { return k == key })
}
