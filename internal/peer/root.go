package peer

// Root is a process whose descendants are looked for. Its start tells it from a
// later process that is given the same ID.
type Root struct {
	PID   int
	Start uint64 // as the system counts it: clock ticks since boot, or 100 ns since 1601
}

// RootOf is the process that has this ID now. The error is ErrUnknown where there
// is none, or where the system does not say when it began.
func RootOf(pid int) (Root, error) {
	if pid <= 0 {
		return Root{}, ErrUnknown
	}
	start, err := startOf(pid)
	if err != nil {
		return Root{}, err
	}
	return Root{PID: pid, Start: start}, nil
}

// maxAncestors bounds the way up. Programs stand some ten deep; a table that was
// read while it changed could also hold a ring.
const maxAncestors = 128

// ancestors is the process itself and those that it descends from, the nearest
// first. up finds a parent, and says whether there is one.
func ancestors(p Root, up func(Root) (Root, bool)) []Root {
	chain := []Root{p}
	for len(chain) < maxAncestors {
		parent, ok := up(p)
		// A parent that began after its child is another process with the ID of the
		// one that has ended.
		if !ok || parent.Start > p.Start || parent == p {
			break
		}
		chain, p = append(chain, parent), parent
	}
	return chain
}
