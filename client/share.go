package client

import "context"

// flight is one request to the broker that several callers wait for.
type flight struct {
	done    chan struct{} // closed when the two that follow are set
	token   Token
	err     error
	waiting int                // guarded by Client.mu
	cancel  context.CancelFunc // ends it when nobody waits any more
}

// share asks the broker, or joins who is asking for the same. The request goes on
// while anybody waits for it; each caller leaves with its own context.
func (c *Client) share(ctx context.Context, r Request) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	f := c.join(ctx, r)
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		c.leave(r, f)
		return Token{}, ctx.Err()
	}
}

func (c *Client) join(ctx context.Context, r Request) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[r]; f != nil {
		f.waiting++
		return f
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{done: make(chan struct{}), waiting: 1, cancel: cancel}
	c.flights[r] = f
	go func() { // ends with MaxWait and one answer at the latest, or with the last waiter
		defer cancel()
		f.token, f.err = c.ask(running, r)
		if f.err == nil {
			c.keep(r, f.token)
		}
		c.land(r, f)
		close(f.done)
	}()
	return f
}

// land takes a flight off the list, so that the next caller starts another one.
func (c *Client) land(r Request, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[r] == f {
		delete(c.flights, r)
	}
}

func (c *Client) leave(r Request, f *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		if c.flights[r] == f {
			delete(c.flights, r)
		}
	}
}
