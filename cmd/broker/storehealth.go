package main

import (
	"context"
	"sync/atomic"
	"time"
)

// storeHealth remembers whether the secret store works. Anybody on loopback may
// ask for readiness, and each look at the store costs I/O.
type storeHealth struct {
	last    atomic.Pointer[storeOutcome]
	looking atomic.Bool
}

// storeOutcome is what one look at the store gave.
type storeOutcome struct {
	on  time.Time
	err error
}

const (
	storeFresh    = 5 * time.Second // how long an outcome is good for
	storePatience = 3 * time.Second // bounds one look
)

// storeWorks says whether the store can be listed and all sign-ins in it be read.
// While somebody else looks, the outcome before counts.
func (p *parts) storeWorks(ctx context.Context) error {
	last := p.health.last.Load()
	if last != nil && time.Since(last.on) < storeFresh {
		return last.err
	}
	if !p.health.looking.CompareAndSwap(false, true) && last != nil {
		return last.err
	}
	defer p.health.looking.Store(false)
	now := &storeOutcome{on: time.Now(), err: p.lookAtStore(ctx)}
	p.health.last.Store(now)
	return now.err
}

func (p *parts) lookAtStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storePatience)
	defer cancel()
	if _, err := p.store.List(ctx); err != nil {
		return err
	}
	if unread := p.book.Unread(); unread != nil {
		return unread.Err
	}
	return nil
}
