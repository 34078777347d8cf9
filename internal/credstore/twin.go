package credstore

import "errors"

// A record is kept in two slots that are used in turn. A Save only ever
// touches the slot that does not hold the newest whole copy, so whatever a
// crash does to that slot, the record of before is still there. Which copy is
// the newest is told by the generation stored in it; there is no third thing
// that could be lost or disagree.
//
// Falling back by one generation is harmless: Entra lets an older refresh token
// live on, so a lost write is not a lost sign-in.

// slot is one of the two places of a record.
type slot string

const (
	slotA slot = "a"
	slotB slot = "b"
)

func (s slot) other() slot {
	if s == slotA {
		return slotB
	}
	return slotA
}

// state is how good a copy is; the larger the better.
type state int

const (
	absent state = iota
	torn         // something is there that is not a whole record
	whole
)

// replica is what was found in a slot.
type replica struct {
	state      state
	generation uint64 // of a torn one: what it claims, or zero
	data       []byte // of a whole one
	why        error  // of a torn one: what is wrong with it
}

// slots is a medium that keeps the copies: files, credentials. An error of
// theirs means that the medium failed and nothing is known about the slot; a
// damaged copy is not an error but a torn replica.
type slots interface {
	read(id string, s slot) (replica, error)
	write(id string, s slot, generation uint64, data []byte) error
	remove(id string, s slot) error
}

// twin is both copies of one record.
type twin struct{ a, b replica }

func readTwin(m slots, id string) (twin, error) {
	a, err := m.read(id, slotA)
	if err != nil {
		return twin{}, err
	}
	b, err := m.read(id, slotB)
	if err != nil {
		return twin{}, err
	}
	return twin{a: a, b: b}, nil
}

// newest is the slot that holds the record: a whole copy before a torn one, the
// later generation before the earlier.
func (t twin) newest() slot {
	if t.b.state != t.a.state {
		if t.b.state > t.a.state {
			return slotB
		}
		return slotA
	}
	if t.b.generation > t.a.generation {
		return slotB
	}
	return slotA
}

func (t twin) at(s slot) replica {
	if s == slotA {
		return t.a
	}
	return t.b
}

// saveTwin writes data as the next generation into the slot that is not the newest.
func saveTwin(m slots, id string, data []byte) error {
	t, err := readTwin(m, id)
	if err != nil {
		return err
	}
	newest := t.newest()
	next := uint64(1)
	if held := t.at(newest); held.state == whole {
		next = held.generation + 1
	}
	return m.write(id, newest.other(), next, data)
}

// loadTwin gives the newest whole copy. Where the other copy is torn, its
// damage is given too, for the log: a Save was cut short, or a file was touched.
func loadTwin(m slots, id string) (data []byte, damage, err error) {
	t, err := readTwin(m, id)
	if err != nil {
		return nil, nil, err
	}
	held, other := t.at(t.newest()), t.at(t.newest().other())
	switch held.state {
	case absent:
		return nil, nil, ErrNotFound
	case torn:
		return nil, nil, corrupt(opLoad, "record %q: %w", id, errors.Join(held.why, other.why))
	default:
		return held.data, other.why, nil
	}
}

// deleteTwin removes both copies, the newest last: cut short at any point it
// leaves the record or nothing, never the record of before.
func deleteTwin(m slots, id string) error {
	t, err := readTwin(m, id)
	if err != nil {
		return err
	}
	newest := t.newest()
	if err := m.remove(id, newest.other()); err != nil {
		return err
	}
	return m.remove(id, newest)
}
