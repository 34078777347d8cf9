// Package ews counts who still calls Exchange Web Services, and knows what in
// Microsoft Graph replaces each operation (the EWS exit report).
//
// Counted are the name of the consumer and that of the operation, how often and
// when last; nothing else of a request. The counts outlive the broker in
// FileName in the state directory.
package ews

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxConsumers bounds the names that are counted by themselves; those beyond
	// are Other.
	maxConsumers = 256
	// saveEvery is how often the counts are written where they have changed.
	saveEvery = time.Minute
)

// Usage is the counts. All methods are safe for concurrent use.
type Usage struct {
	path    string
	log     *slog.Logger
	index   map[string]int // of an operation in table, or len(table) for Other
	dirty   atomic.Bool    // the file does not hold all of it
	damaged atomic.Bool    // the file cannot be read and is moved aside before the first save

	saving sync.Mutex // held while the file is written, never while counting

	mu        sync.RWMutex
	since     time.Time
	consumers map[string]*tally
}

// tally is what one consumer called, by index.
type tally []struct{ calls, last atomic.Int64 } // last in Unix milliseconds

// Tally is how often an operation was called, and when last.
type Tally struct {
	Operation string
	Calls     int64
	Last      time.Time
}

// Consumer is what one consumer called, the most frequent first.
type Consumer struct {
	Name       string
	Calls      int64
	Last       time.Time
	Operations []Tally
}

// Report is all counts since a moment, the busiest consumer first.
type Report struct {
	Since     time.Time
	Consumers []Consumer
}

// Count notes one call of an operation by a consumer. The operation is as it
// stands in the request: a name, the URI of a SOAPAction, or the name of the
// body's element; what is not known is Other. It takes no longer than a look into
// two maps, allocates nothing for a consumer that was seen before, and waits for no
// file.
func (u *Usage) Count(consumer, operation string) {
	t := u.tally(consumer)
	c := &t[u.operation(operation)]
	c.calls.Add(1)
	c.last.Store(time.Now().UnixMilli())
	if !u.dirty.Load() {
		u.dirty.Store(true)
	}
}

// Known is the name that an operation is counted as: one of Operations, or Other.
func (u *Usage) Known(operation string) string { return operationAt(u.operation(operation)) }

// operation is the index of an operation. SOAPAction is the name at the end of a
// URI, in quotes (SOAP 1.1 section 6.1.1); the body's elements of three operations
// end in Request (GetUserAvailabilityRequest).
func (u *Usage) operation(name string) int {
	if i, ok := u.index[name]; ok {
		return i
	}
	name = strings.Trim(name, `" `)
	name = name[strings.LastIndexAny(name, "/#")+1:]
	if i, ok := u.index[strings.TrimSuffix(name, "Request")]; ok {
		return i
	}
	return len(table)
}

// operationAt is the name of an index.
func operationAt(i int) string {
	if i < len(table) {
		return table[i].Operation
	}
	return Other
}

// tally finds the counts of a consumer, or makes them.
func (u *Usage) tally(consumer string) tally {
	u.mu.RLock()
	t := u.consumers[consumer]
	if t == nil && len(u.consumers) >= maxConsumers {
		t = u.consumers[Other]
	}
	u.mu.RUnlock()
	if t != nil {
		return *t
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.make(consumer)
}

// make is tally for one who holds mu.
func (u *Usage) make(consumer string) tally {
	if consumer == "" || len(u.consumers) >= maxConsumers && u.consumers[consumer] == nil {
		consumer = Other
	}
	t := u.consumers[consumer]
	if t == nil {
		counts := make(tally, len(table)+1)
		t = &counts
		u.consumers[consumer] = t
	}
	return *t
}

// Report is the counts as they are now.
func (u *Usage) Report() Report {
	u.mu.RLock()
	defer u.mu.RUnlock()
	r := Report{Since: u.since}
	for name, t := range u.consumers {
		c := Consumer{Name: name}
		for i := range *t {
			calls := (*t)[i].calls.Load()
			if calls == 0 {
				continue
			}
			one := Tally{Operation: operationAt(i), Calls: calls, Last: time.UnixMilli((*t)[i].last.Load()).UTC()}
			c.Operations = append(c.Operations, one)
			c.Calls += calls
			if one.Last.After(c.Last) {
				c.Last = one.Last
			}
		}
		if c.Calls > 0 {
			slices.SortFunc(c.Operations, func(a, b Tally) int {
				return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Operation, b.Operation))
			})
			r.Consumers = append(r.Consumers, c)
		}
	}
	slices.SortFunc(r.Consumers, func(a, b Consumer) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Name, b.Name))
	})
	return r
}

// Reset begins counting anew, on the disk too. The error is that of the file
// system; the counts in memory are gone all the same.
func (u *Usage) Reset() error {
	u.mu.Lock()
	u.since, u.consumers = now(), map[string]*tally{}
	u.mu.Unlock()
	u.dirty.Store(true)
	return u.Save()
}

// Run writes the counts once a minute where they have changed, and when ctx ends.
// A file that cannot be written is a warning; the counts go on from memory, and
// the next minute tries again.
func (u *Usage) Run(ctx context.Context) error {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return u.Save()
		case <-tick.C:
		}
		err := u.Save()
		if err != nil && !failed {
			u.log.WarnContext(ctx, "the counts of Exchange Web Services could not be written; they go on from memory", slog.Any("error", err))
		}
		failed = err != nil
	}
}

// now is the time to the second: more is not to be told from a count.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
