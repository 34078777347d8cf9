package signin

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/m365-token-broker/broker/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "CANARY"

// result is one outcome of a scripted Wait or Browser.
type result struct {
	after time.Duration
	err   error
}

// authority is scripted: each Wait takes the next result.
type authority struct {
	startAfter time.Duration
	startErr   error
	lifetime   time.Duration // of a code; zero: 15 min
	noURL      bool          // Browser never calls open
	openErr    error         // what open said

	mu      sync.Mutex
	starts  int
	waits   int
	results []result
	fault   *token.Error
	hint    string
}

func (a *authority) next(ctx context.Context) (token.Grant, error) {
	a.mu.Lock()
	a.waits++
	r := result{after: 1000 * time.Hour}
	if len(a.results) > 0 {
		r, a.results = a.results[0], a.results[1:]
	}
	a.mu.Unlock()
	if err := sleep(ctx, r.after); err != nil {
		return token.Grant{}, err
	}
	if r.err != nil {
		return token.Grant{}, r.err
	}
	return token.Grant{Username: "Ops@contoso.com", RefreshToken: token.NewSecret(canary)}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *authority) DeviceCode(ctx context.Context, _ token.App, _ token.Scopes) (token.DeviceCode, error) {
	a.mu.Lock()
	a.starts++
	a.mu.Unlock()
	if err := sleep(ctx, a.startAfter); err != nil {
		return token.DeviceCode{}, token.AsError(err)
	}
	if a.startErr != nil {
		return token.DeviceCode{}, a.startErr
	}
	life := a.lifetime
	if life == 0 {
		life = 15 * time.Minute
	}
	return token.DeviceCode{
		UserCode: "ABCD", VerificationURI: "https://x.test/device", Message: "Do it.", ExpiresOn: time.Now().Add(life), Interval: 5 * time.Second,
		Wait: a.next, Fault: func() *token.Error { a.mu.Lock(); defer a.mu.Unlock(); return a.fault },
	}, nil
}

func (a *authority) Browser(ctx context.Context, _ token.App, _ token.Scopes, hint string, open func(string) error) (token.Grant, error) {
	a.mu.Lock()
	a.starts++
	a.hint = hint
	a.mu.Unlock()
	if err := sleep(ctx, a.startAfter); err != nil {
		return token.Grant{}, token.AsError(err)
	}
	if a.startErr != nil {
		return token.Grant{}, a.startErr
	}
	if a.noURL {
		<-ctx.Done()
		return token.Grant{}, token.AsError(ctx.Err())
	}
	if a.openErr = open("https://x.test/authorize"); a.openErr != nil {
		return token.Grant{}, token.AsError(a.openErr)
	}
	return a.next(ctx)
}

// desk is a desk on a scripted authority, in a synctest bubble.
type desk struct {
	*Desk
	a       *authority
	keep    Keep
	mu      sync.Mutex
	kept    int
	changes []State
}

// run runs f in a bubble and ends the desk, which must leave no goroutine.
func run(t *testing.T, a *authority, f func(t *testing.T, b *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := &desk{a: a}
		b.Desk = New(Config{
			Authority: a,
			Keep: func(ctx context.Context, account string, g token.Grant) (string, error) {
				b.mu.Lock()
				b.kept++
				keep := b.keep
				b.mu.Unlock()
				if keep != nil {
					return keep(ctx, account, g)
				}
				return "ops", nil
			},
			Changed: func(v View) { b.mu.Lock(); b.changes = append(b.changes, v.State); b.mu.Unlock() },
			Log:     slog.New(slog.NewTextHandler(&log, nil)),
		})
		f(t, b)
		b.Stop()
		if text := log.String(); strings.Contains(text, canary) || strings.Contains(text, "ABCD") || strings.Contains(text, "contoso") {
			t.Errorf("log: %s", text)
		}
	})
}

// seen tells, once all is quiet, how often Keep ran and what Changed was told.
func (b *desk) seen() (kept int, changes string) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept, fmt.Sprint(b.changes)
}

func (b *desk) start(t *testing.T, account string, flow token.Flow) View {
	t.Helper()
	v, created, err := b.Start(t.Context(), Request{Account: account, Flow: flow, LoginHint: "ops@contoso.com"})
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	return v
}

func (b *desk) wait(t *testing.T, id string) View {
	t.Helper()
	v, err := b.Wait(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v", v); strings.Contains(text, canary) {
		t.Errorf("view: %s", text)
	}
	return v
}

func problem(k token.Kind) error { return token.NewError(k, "x", "Do that.") }
