package sink

import (
	"context"
	"errors"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// The clock of a token file.
const (
	// ahead is how long a token in a file is valid at least, where there is a
	// choice: programs read the file once and use it for a while.
	ahead = 10 * time.Minute
	// lookEvery is how often the policy is looked at: hours begin and end with the
	// minute.
	lookEvery = time.Minute
	// hurry bounds the rate at which renewals are asked for, also for tokens whose
	// whole life is shorter than ahead.
	hurry = 30 * time.Second
	// again is when a file that could not be written is tried again.
	again = 5 * time.Second
)

// keeping is the life of one file. One goroutine has it.
type keeping struct {
	*Keeper
	file File
	poke chan struct{}

	held  Current // what stands in the file; the zero Current: nothing of this life
	there bool    // a file of ours may be there
}

// run keeps the file until ctx ends and removes it then.
func (k *keeping) run(ctx context.Context) {
	k.there = k.list.has(k.file.Path)
	defer func() {
		if err := k.remove(); err != nil {
			k.report(k.file, "cannot be removed; delete it", err)
		}
	}()
	for ctx.Err() == nil {
		pause, settled := k.update(ctx)
		k.wait(ctx, pause, settled)
	}
}

// update brings the file to what it should be, and says when to look again, and
// whether the file is as it should be until the token changes.
func (k *keeping) update(ctx context.Context) (pause time.Duration, settled bool) {
	cur, err := k.cfg.Tokens.Token(ctx, k.file.Consumer, ahead)
	if ctx.Err() != nil {
		return 0, false
	}
	if err != nil {
		return k.without(token.AsError(err)), false
	}
	if cur.ETag != k.held.ETag || !k.stands() {
		if err := k.write(cur); err != nil {
			k.report(k.file, words(err), err)
			return again, false
		}
		k.cfg.Tokens.Written(k.file.Consumer, cur)
	}
	k.report(k.file, "", nil)
	left := time.Until(cur.ExpiresOn)
	return max(min(max(left-ahead, hurry), left), time.Second), true
}

// without is update where there is no token. What stands in the file stays as
// long as it is valid and only the authority is away; a consumer that may not
// have a token finds none.
func (k *keeping) without(err *token.Error) time.Duration {
	left := time.Until(k.held.ExpiresOn)
	if err.Kind.Retryable() && k.there && left > 0 {
		k.report(k.file, "is not renewed at the moment: "+err.Detail, err)
		return min(max(err.RetryAfter, hurry), left)
	}
	if failed := k.remove(); failed != nil {
		k.report(k.file, "holds a token that the consumer may not have, or that has ended, and cannot be removed; delete it", failed)
		return again
	}
	k.report(k.file, "is not there: "+err.Detail, err)
	return min(max(err.RetryAfter, hurry), lookEvery)
}

// wait waits until the file must be looked at: after d, when somebody says so,
// and, where it is settled, when the token changes or the policy ends.
func (k *keeping) wait(ctx context.Context, d time.Duration, settled bool) {
	end := time.Now().Add(d)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	changed := make(chan struct{})
	if settled {
		go func() {
			defer close(changed)
			_ = k.cfg.Tokens.Changed(ctx, k.held) // the next look tells what it was
		}()
		defer func() { cancel(); <-changed }()
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.poke:
			return
		case <-changed:
			return
		case <-look.C:
			// By the wall clock, as a machine's sleep counts.
			if !time.Now().Round(0).Before(end.Round(0)) || k.stale(ctx) {
				return
			}
		}
	}
}

// stale reports whether the file is there and should not be, or the other way
// round: its consumer may not have the token any more, or somebody deleted it.
func (k *keeping) stale(ctx context.Context) bool {
	return k.there && (!k.stands() || k.cfg.Tokens.Allowed(ctx, k.file.Consumer) != nil)
}

// words are what went wrong with a file, after its name.
func words(err error) string {
	if f, ok := errors.AsType[*fault](err); ok {
		return f.what
	}
	return "cannot be written; the broker's log has the cause"
}
