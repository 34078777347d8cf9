package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// footprint measures memory and start of brokers of their own.
func (b *bench) footprint(ctx context.Context, p plan) (footprint, error) {
	var f footprint
	small, err := newInstance(ctx, b.program, filepath.Join(b.dir, "small"), b.sandbox)
	if err != nil {
		return f, err
	}
	defer small.stop()
	if err := small.signedIn(ctx, b, 1); err != nil {
		return f, err
	}
	if f.idle, err = small.settled(ctx); err != nil {
		return f, err
	}
	for range p.starts {
		d, err := small.restart(ctx)
		if err != nil {
			return f, err
		}
		f.firstToken = append(f.firstToken, d)
	}
	full, err := newInstance(ctx, b.program, filepath.Join(b.dir, "full"), b.sandbox)
	if err != nil {
		return f, err
	}
	defer full.stop()
	if err := full.signedIn(ctx, b, p.accounts); err != nil {
		return f, err
	}
	f.full, err = full.settled(ctx)
	return f, err
}

// signedIn starts the broker and gives it n accounts with three tokens each.
func (i *instance) signedIn(ctx context.Context, b *bench, n int) error {
	if err := i.start(ctx); err != nil {
		return err
	}
	if err := i.ready(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for k := range n {
		g.Go(func() error {
			name := fmt.Sprintf("user%d@contoso.example", k)
			// The second broker meets users that the first one made.
			_, _ = b.sandbox.AddUser(name)
			if err := i.signIn(ctx, b.sandbox, name); err != nil {
				return err
			}
			for _, resource := range []string{"graph", "ews", "imap"} {
				if err := i.call(ctx, http.MethodGet, "/v1/token?account="+name+"&resource="+resource, nil, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// settled is the resident memory after some seconds without a request.
func (i *instance) settled(ctx context.Context) (float64, error) {
	select {
	case <-time.After(5 * time.Second):
		return i.resident()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// restart stops the broker, starts it again, and takes the time until it has
// served a token for the stored sign-in: a redemption upstream is in it, as no
// access token is ever stored.
func (i *instance) restart(ctx context.Context) (time.Duration, error) {
	i.stop()
	started := time.Now()
	if err := i.start(ctx); err != nil {
		return 0, err
	}
	var err error
	for time.Since(started) < 20*time.Second {
		if err = i.call(ctx, http.MethodGet, "/v1/token?resource=graph", nil, nil); err == nil {
			return time.Since(started), nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, err
}
