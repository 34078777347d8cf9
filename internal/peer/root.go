package peer

// Root is a process whose descendants are looked for. Its start tells it from a
// later process that is given the same ID.
type Root struct {
	PID   int
	Start uint64 // as the system counts it: clock ticks since boot, or 100 ns since 1601
}
