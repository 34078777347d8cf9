package sandbox

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Stats is what the sandbox saw, for tests that count requests.
type Stats struct {
	Requests      map[Endpoint]int `json:"requests"`       // every request, faults included
	MaxConcurrent map[Endpoint]int `json:"max_concurrent"` // most at the same time
	SignIns       int              `json:"sign_ins"`       // device and authorization codes redeemed
	Redemptions   int              `json:"redemptions"`    // refresh tokens redeemed with success
	Polls         []Poll           `json:"polls"`          // of the device code grant, the last 1,000
}

// Poll is one device code poll.
type Poll struct {
	On      time.Time     `json:"on"`
	Gap     time.Duration `json:"gap_ns"`  // since the poll before of the same code; zero for its first
	Outcome string        `json:"outcome"` // "token", an OAuth error, or "fault"
}

// maxPolls bounds the memory of a sandbox that runs for weeks.
const maxPolls = 1000

// stats counts; it has a lock of its own.
type stats struct {
	mu       sync.Mutex
	seen     Stats
	inFlight map[Endpoint]int
	lastPoll map[string]time.Time // by device code
}

// begin counts a request that starts; the function returned ends it.
func (t *stats) begin(e Endpoint) func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inFlight == nil {
		t.inFlight = map[Endpoint]int{}
	}
	if t.seen.Requests == nil {
		t.seen.Requests, t.seen.MaxConcurrent = map[Endpoint]int{}, map[Endpoint]int{}
	}
	t.seen.Requests[e]++
	t.inFlight[e]++
	t.seen.MaxConcurrent[e] = max(t.seen.MaxConcurrent[e], t.inFlight[e])
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.inFlight[e]--
	}
}

// poll records a poll of a device code.
func (t *stats) poll(deviceCode, outcome string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lastPoll == nil {
		t.lastPoll = map[string]time.Time{}
	}
	p := Poll{On: time.Now(), Outcome: outcome}
	if last, ok := t.lastPoll[deviceCode]; ok {
		p.Gap = p.On.Sub(last)
	}
	t.lastPoll[deviceCode] = p.On
	if t.seen.Polls = append(t.seen.Polls, p); len(t.seen.Polls) > maxPolls {
		t.seen.Polls = slices.Delete(t.seen.Polls, 0, 1)
	}
}

// forgetCode ends the record of a device code that is gone.
func (t *stats) forgetCode(deviceCode string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.lastPoll, deviceCode)
}

func (t *stats) signedIn() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen.SignIns++
}

func (t *stats) redeemed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen.Redemptions++
}

// Stats is a copy of what was seen so far.
func (s *Sandbox) Stats() Stats {
	t := &s.stats
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.seen
	c.Requests, c.MaxConcurrent, c.Polls = maps.Clone(c.Requests), maps.Clone(c.MaxConcurrent), slices.Clone(c.Polls)
	if c.Requests == nil {
		c.Requests, c.MaxConcurrent = map[Endpoint]int{}, map[Endpoint]int{}
	}
	return c
}

// ResetStats starts counting anew.
func (s *Sandbox) ResetStats() {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	s.stats.seen = Stats{}
}
