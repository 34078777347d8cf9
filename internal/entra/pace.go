package entra

import (
	"context"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Pacing of device-code polling (RFC 8628 section 3.5).
const (
	defaultInterval = 5 * time.Second  // where the answer names none
	slowDownStep    = 5 * time.Second  // added per slow_down, for good
	maxFaultPause   = 30 * time.Second // longest pause of our own after faults
)

// pacer decides when a device code may be polled next and remembers what stands
// in the way. It is safe for concurrent use and lives as long as the code.
type pacer struct {
	mu       sync.Mutex
	interval time.Duration
	next     time.Time
	faults   int
	fault    *token.Error
}

// newPacer starts the clock: the first poll is due one interval from now.
func newPacer(interval time.Duration) *pacer {
	return &pacer{interval: interval, next: time.Now().Add(interval)}
}

// wait returns when the next poll is due or ctx ends.
func (p *pacer) wait(ctx context.Context) error {
	p.mu.Lock()
	due := time.Until(p.next)
	p.mu.Unlock()
	if due <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(due)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pending notes that the authority answered: nobody is done yet.
func (p *pacer) pending() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.fault = 0, nil
	p.next = time.Now().Add(p.interval)
}

// slowDown notes that the authority wants fewer polls.
func (p *pacer) slowDown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.fault = 0, nil
	p.interval += slowDownStep
	p.next = time.Now().Add(p.interval)
}

// failed notes a poll that got no answer of the authority. The pause doubles
// with every such poll in a row, and is never shorter than the authority asked
// for. It reports whether this is the first of the row.
func (p *pacer) failed(e *token.Error) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := p.interval << min(p.faults, 8)
	pause = max(min(pause, maxFaultPause), p.interval, e.RetryAfter)
	p.faults++
	p.fault = e
	p.next = time.Now().Add(pause)
	return p.faults == 1
}

// standing is what stood in the way at the last poll, nil where nothing did.
func (p *pacer) standing() *token.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fault
}
