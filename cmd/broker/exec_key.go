package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// The life of a command's key: it ends with the command, or, should this
// process be killed, with its lease. Where the broker is away, it is looked for
// more and more rarely.
const (
	usualLease   = 2 * time.Minute
	soonestRetry = 250 * time.Millisecond
	latestRetry  = 5 * time.Second
)

// commandKey is the key of one command. This process makes it, and the broker
// is told its hash only; so a broker that was restarted, and has forgotten it,
// can be told again, and the key that the command holds works on.
type commandKey struct {
	api     *api
	key     token.Secret
	request httpapi.ConsumerRequest // with the name that the broker gave it
	lease   time.Duration
	stderr  io.Writer
	revoked sync.Once

	renewing context.CancelFunc // ends renewal
	ended    chan struct{}      // closed when that has ended
}

// newCommandKey makes a key and leases it; the answer says what it may have.
func newCommandKey(ctx context.Context, o *options, a *api, in httpapi.ConsumerRequest) (*commandKey, httpapi.Consumer, error) {
	k := &commandKey{api: a, key: consumer.NewKey(), request: in, stderr: o.env.stderr, lease: time.Duration(in.LeaseSeconds) * time.Second}
	k.request.KeySha256 = consumer.HashKey(k.key)
	made, err := a.addConsumer(ctx, k.request)
	if k.request.Process != 0 && isKind(err, token.KindUnsupported, token.KindInvalidRequest) {
		// The broker may not see this process, from within a container for one. Only
		// programs that send no key need that.
		k.request.Process = 0
		made, err = a.addConsumer(ctx, k.request)
	}
	k.request.Name = made.Name
	return k, made.Consumer, err
}

// keep renews the lease in the background until revoke.
func (k *commandKey) keep(ctx context.Context) {
	ctx, k.renewing = context.WithCancel(ctx)
	k.ended = make(chan struct{})
	go func() {
		defer close(k.ended)
		k.renewal(ctx)
	}()
}

// revoke ends the key, whatever became of the command. The second call does
// nothing.
func (k *commandKey) revoke(ctx context.Context) {
	k.revoked.Do(func() {
		if k.renewing != nil {
			k.renewing() // or it would lease the key again
			<-k.ended
		}
		ctx, stop := afterwards(ctx)
		defer stop()
		err := errAway
		if k.api.there() {
			err = k.api.removeConsumer(ctx, k.request.Name)
		}
		if err != nil && !isKind(err, token.KindNotFound) {
			k.say("the key could not be revoked; it ends by itself within %s", span(k.lease))
		}
	})
}

func (k *commandKey) say(format string, args ...any) {
	fmt.Fprintf(k.stderr, "broker: "+format+"\n", args...)
}

// renewal keeps the lease alive. A broker that is away is waited for, as it may
// be starting anew; that the key does not work meanwhile is said once, when its
// lease is over.
func (k *commandKey) renewal(ctx context.Context) {
	good, told := time.Now(), false
	pause := k.lease / 4
	for k.wait(ctx, pause) {
		err := k.renew(ctx)
		now := time.Now()
		last, lasting := lastWord(err)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if told {
				k.say("the broker is back, and the command's key works again")
			}
			good, told, pause = now, false, k.lease/4
		case lasting:
			k.say("the command's key no longer works: %s Start the command again.", printable(last.Detail))
			return
		default:
			away := now.Sub(good)
			pause = min(max(away/10, soonestRetry), latestRetry)
			if away >= k.lease && !told {
				told = true
				k.say("the broker at %s has not answered for %s, and the command's key no longer works; see `broker status`", k.api.base, span(away))
			}
		}
	}
}

// wait waits until it is time to renew, or the connection to the broker is lost:
// then it may have been killed, and the one that comes after it knows no key.
// It is false when ctx has ended.
func (k *commandKey) wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	lost := k.api.lost
	if d < k.lease/4 {
		lost = nil // it is lost, and was told
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-lost:
	}
	return true
}

// errAway says that no broker is there.
var errAway = errors.New("no broker is there")

// renew renews the lease, or makes it anew at a broker that does not know it.
func (k *commandKey) renew(ctx context.Context) error {
	if !k.api.there() {
		return errAway
	}
	err := k.api.renewConsumer(ctx, k.request.Name, k.lease)
	if isKind(err, token.KindNotFound) {
		_, err = k.api.addConsumer(ctx, k.request)
	}
	return err
}

// lastWord reports whether an error is the broker's last word: it will not lease
// the key again, as what it stood for is gone.
func lastWord(err error) (*token.Error, bool) {
	e, ok := errors.AsType[*token.Error](err)
	return e, ok && !e.Kind.Retryable() && e.Kind != token.KindInternal && e.Kind != token.KindCancelled
}

// isKind reports whether an error is of one of these kinds; nil is of none.
func isKind(err error, kinds ...token.Kind) bool {
	return err != nil && slices.Contains(kinds, token.KindOf(err))
}
