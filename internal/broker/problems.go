package broker

import (
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Problem is a redemption that failed.
type Problem struct {
	On  time.Time
	Key token.Key
	Err *token.Error
}

// kept is how many problems are remembered.
const kept = 20

// Problems remembers the last failed redemptions, for `broker status`. It is
// safe for concurrent use.
type Problems struct {
	mu   sync.Mutex // guards ring and next
	ring [kept]Problem
	next int
}

// NewProblems makes an empty list.
func NewProblems() *Problems { return &Problems{} }

// add remembers one failure.
func (p *Problems) add(key token.Key, err *token.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ring[p.next%kept] = Problem{On: time.Now(), Key: key, Err: err}
	p.next++
}

// Last lists what is remembered, the newest first.
func (p *Problems) Last() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Problem
	for i := p.next - 1; i >= 0 && i >= p.next-kept; i-- {
		out = append(out, p.ring[i%kept])
	}
	return out
}
