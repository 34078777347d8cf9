package signin

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

func TestDeviceSucceeds(t *testing.T) {
	run(t, &authority{results: []result{{after: 30 * time.Second}}}, func(t *testing.T, b *desk) {
		begin := time.Now()
		v := b.start(t, "Ops", token.FlowDevice)
		if v.State != StatePending || v.UserCode != "ABCD" || v.VerificationURI != "https://x.test/device" || v.Message != "Do it." ||
			v.ExpiresOn != begin.Add(15*time.Minute) || v.Interval != 5*time.Second || v.Account != "Ops" || v.Flow != token.FlowDevice || len(v.ID) != 22 {
			t.Errorf("%+v", v)
		}
		if p, ok := b.Pending("ops"); !ok || p.ID != v.ID || b.Waiting() != 1 {
			t.Errorf("%v %+v, %d waiting", ok, p, b.Waiting())
		}
		end := b.wait(t, v.ID)
		if end.State != StateSucceeded || end.Account != "ops" || end.UserCode != "" || end.VerificationURI != "" || end.Problem != nil || end.Message != "Signed in as ops." {
			t.Errorf("%+v", end)
		}
		if time.Since(begin) != 30*time.Second {
			t.Errorf("took %v", time.Since(begin))
		}
		if _, ok := b.Pending("ops"); ok || b.Waiting() != 0 {
			t.Error("still pending")
		}
		if kept, changes := b.seen(); kept != 1 || changes != "[pending succeeded]" {
			t.Errorf("kept %d, changes %v", kept, changes)
		}
	})
}

func TestWhoBeganIt(t *testing.T) {
	run(t, &authority{results: []result{{after: time.Second}, {after: time.Second}}}, func(t *testing.T, b *desk) {
		for _, who := range []string{"ui", ""} {
			ctx := t.Context()
			if who != "" {
				ctx = StartedBy(ctx, who)
			}
			v, _, err := b.Start(ctx, Request{Account: "ops" + who, Flow: token.FlowDevice})
			if end := b.wait(t, v.ID); err != nil || v.By != who || end.By != who {
				t.Errorf("began by %q: %+v, %+v (%v)", who, v, end, err)
			}
		}
	})
}

func TestBrowserSucceeds(t *testing.T) {
	a := &authority{results: []result{{after: 9 * time.Minute}}}
	run(t, a, func(t *testing.T, b *desk) {
		v := b.start(t, "ops", token.FlowBrowser)
		if v.State != StatePending || v.UserCode != "" || v.VerificationURI != "https://x.test/authorize" || v.ExpiresOn != time.Now().Add(10*time.Minute) || a.hint != "ops@contoso.com" {
			t.Errorf("%+v", v)
		}
		if end := b.wait(t, v.ID); end.State != StateSucceeded {
			t.Errorf("%+v", end)
		}
	})
}

func TestEnds(t *testing.T) {
	tests := map[string]struct {
		flow token.Flow
		err  error
		want State
		kind token.Kind
	}{
		"declined":      {token.FlowDevice, problem(token.KindDeclined), StateDeclined, token.KindDeclined},
		"expired":       {token.FlowDevice, problem(token.KindExpired), StateExpired, token.KindExpired},
		"policy":        {token.FlowDevice, problem(token.KindPolicyBlocked), StateFailed, token.KindPolicyBlocked},
		"configuration": {token.FlowDevice, problem(token.KindConfiguration), StateFailed, token.KindConfiguration},
		"foreign":       {token.FlowDevice, errors.New("x"), StateFailed, token.KindInternal},
		"browser no":    {token.FlowBrowser, problem(token.KindDeclined), StateDeclined, token.KindDeclined},
		"browser down":  {token.FlowBrowser, problem(token.KindUnavailable), StateFailed, token.KindUnavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, &authority{results: []result{{time.Second, tt.err}}}, func(t *testing.T, b *desk) {
				v := b.wait(t, b.start(t, "ops", tt.flow).ID)
				if v.State != tt.want || v.Problem == nil || v.Problem.Kind != tt.kind || v.Message != v.Problem.Detail || v.UserCode != "" {
					t.Errorf("%+v %+v", v, v.Problem)
				}
			})
		})
	}
}

// The same code goes on through faults, and is asked for only once.
func TestFaultsKeepTheCode(t *testing.T) {
	down := &token.Error{Kind: token.KindUnavailable, Detail: "down"}
	a := &authority{results: []result{
		{0, down}, {0, problem(token.KindTimeout)}, {0, &token.Error{Kind: token.KindThrottled, RetryAfter: time.Minute}}, {time.Second, nil},
	}}
	run(t, a, func(t *testing.T, b *desk) {
		begin := time.Now()
		v := b.start(t, "ops", token.FlowDevice)
		if v := b.wait(t, v.ID); v.State != StateSucceeded {
			t.Errorf("%+v", v)
		}
		if got, want := time.Since(begin), (5+10+60+1)*time.Second; got != want || a.starts != 1 || a.waits != 4 {
			t.Errorf("took %v, want %v; %d starts, %d waits", got, want, a.starts, a.waits)
		}
	})
}

// An answer that cannot be used ends the sign-in: the code is redeemed, and to
// ask again would bring another error that hides the reason.
func TestAnUnusableAnswerIsFinal(t *testing.T) {
	a := &authority{results: []result{{time.Second, problem(token.KindInvalid)}, {time.Second, nil}}}
	run(t, a, func(t *testing.T, b *desk) {
		v := b.start(t, "ops", token.FlowDevice)
		if v := b.wait(t, v.ID); v.State != StateFailed || v.Problem == nil || v.Problem.Kind != token.KindInvalid || a.waits != 1 {
			t.Errorf("%+v after %d waits", v, a.waits)
		}
	})
}

func TestFaultIsShown(t *testing.T) {
	a := &authority{fault: &token.Error{Kind: token.KindUnavailable, Detail: "down"}}
	run(t, a, func(t *testing.T, b *desk) {
		v := b.start(t, "ops", token.FlowDevice)
		if v.State != StatePending || v.Problem == nil || v.Problem.Kind != token.KindUnavailable {
			t.Errorf("%+v", v)
		}
		a.mu.Lock()
		a.fault = nil
		a.mu.Unlock()
		if v, err := b.SignIn(v.ID); err != nil || v.Problem != nil {
			t.Errorf("%+v %v", v, err)
		}
	})
}

func TestExpires(t *testing.T) {
	tests := map[string]struct {
		flow    token.Flow
		results []result
		took    time.Duration
	}{
		"silent authority": {token.FlowDevice, nil, 15*time.Minute + grace},
		"faults for ever": {token.FlowDevice, func() (r []result) {
			for range 100 {
				r = append(r, result{0, problem(token.KindUnavailable)})
			}
			return r
		}(), 15*time.Minute + 5*time.Second},
		"browser": {token.FlowBrowser, nil, 10 * time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, &authority{results: tt.results}, func(t *testing.T, b *desk) {
				begin := time.Now()
				v := b.wait(t, b.start(t, "ops", tt.flow).ID)
				if v.State != StateExpired || v.Problem == nil || v.Problem.Kind != token.KindExpired {
					t.Errorf("%+v", v)
				}
				if got := time.Since(begin); got != tt.took {
					t.Errorf("took %v, want %v", got, tt.took)
				}
			})
		})
	}
}

func TestStoreFails(t *testing.T) {
	run(t, &authority{results: []result{{}, {}}}, func(t *testing.T, b *desk) {
		b.keep = func(context.Context, string, token.Grant) (string, error) { return "", problem(token.KindStore) }
		v := b.wait(t, b.start(t, "ops", token.FlowDevice).ID)
		if v.State != StateFailed || v.Problem.Kind != token.KindStore {
			t.Errorf("%+v", v)
		}
		// The account is free for another try.
		b.mu.Lock()
		b.keep = nil
		b.mu.Unlock()
		if v := b.wait(t, b.start(t, "ops", token.FlowDevice).ID); v.State != StateSucceeded {
			t.Errorf("%+v", v)
		}
	})
}

func TestOnePendingPerAccount(t *testing.T) {
	a := &authority{startAfter: 2 * time.Second}
	run(t, a, func(t *testing.T, b *desk) {
		var mu sync.Mutex
		created, ids := 0, map[string]bool{}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				account := "ops"
				if i%2 == 1 {
					account = "OPS"
				}
				v, c, err := b.Start(t.Context(), Request{Account: account, Flow: token.FlowDevice})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[v.ID] = true
				if c {
					created++
				}
			})
		}
		synctest.Wait()
		if _, ok := b.Pending("ops"); ok {
			t.Error("shown before there is a code")
		}
		wg.Wait()
		if created != 1 || len(ids) != 1 || a.starts != 1 {
			t.Errorf("created %d, %d ids, %d starts", created, len(ids), a.starts)
		}
		if other := b.start(t, "", token.FlowDevice); ids[other.ID] {
			t.Error("another account shares the sign-in")
		}
	})
}

func TestStartFailsAtOnce(t *testing.T) {
	tests := map[string]struct {
		a    *authority
		flow token.Flow
		kind token.Kind
		took time.Duration
	}{
		"refused":         {&authority{startErr: problem(token.KindConfiguration)}, token.FlowDevice, token.KindConfiguration, 0},
		"too slow":        {&authority{startAfter: time.Hour}, token.FlowDevice, token.KindTimeout, 10 * time.Second},
		"browser refused": {&authority{startErr: problem(token.KindUnavailable)}, token.FlowBrowser, token.KindUnavailable, 0},
		"browser slow":    {&authority{startAfter: time.Hour}, token.FlowBrowser, token.KindTimeout, 10 * time.Second},
		"browser no URL":  {&authority{noURL: true}, token.FlowBrowser, token.KindTimeout, 10 * time.Second},
		"no such flow":    {&authority{}, "smoke", token.KindInvalidRequest, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, tt.a, func(t *testing.T, b *desk) {
				begin := time.Now()
				_, created, err := b.Start(t.Context(), Request{Account: "ops", Flow: tt.flow})
				if e, ok := errors.AsType[*token.Error](err); !ok || e.Kind != tt.kind || created || e.Detail == "" {
					t.Errorf("created %v, %v", created, err)
				}
				if got := time.Since(begin); got != tt.took {
					t.Errorf("took %v, want %v", got, tt.took)
				}
				_, changes := b.seen()
				if _, ok := b.Pending("ops"); ok || len(b.sessions) != 0 || changes != "[]" {
					t.Errorf("left behind: %v, %v", b.sessions, changes)
				}
			})
		})
	}
}

// The sign-in outlives the request that started it, and its values stay.
func TestOutlivesItsRequest(t *testing.T) {
	run(t, &authority{startAfter: 2 * time.Second, results: []result{{after: time.Minute}}}, func(t *testing.T, b *desk) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := b.Start(ctx, Request{Account: "ops", Flow: token.FlowDevice})
		if token.KindOf(err) != token.KindTimeout {
			t.Errorf("%v", err)
		}
		time.Sleep(2 * time.Second)
		v, ok := b.Pending("ops")
		if !ok || v.UserCode != "ABCD" {
			t.Fatalf("%v %+v", ok, v)
		}
		if v := b.wait(t, v.ID); v.State != StateSucceeded {
			t.Errorf("%+v", v)
		}
	})
}

func TestWaitIsALongPoll(t *testing.T) {
	run(t, &authority{}, func(t *testing.T, b *desk) {
		v := b.start(t, "ops", token.FlowDevice)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		got, err := b.Wait(ctx, v.ID)
		if err != nil || got.State != StatePending || got.UserCode != "ABCD" {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func TestCancel(t *testing.T) {
	for _, flow := range []token.Flow{token.FlowDevice, token.FlowBrowser} {
		t.Run(string(flow), func(t *testing.T) {
			run(t, &authority{}, func(t *testing.T, b *desk) {
				v := b.start(t, "ops", flow)
				for range 2 { // the second changes nothing
					got, err := b.Cancel(v.ID)
					if err != nil || got.State != StateCancelled || got.Problem.Kind != token.KindCancelled || got.UserCode != "" {
						t.Errorf("%+v %v", got, err)
					}
				}
				if kept, changes := b.seen(); changes != "[pending cancelled]" || kept != 0 {
					t.Errorf("changes %v, kept %d", changes, kept)
				}
				b.start(t, "ops", flow) // free again
			})
		})
	}
}

// Once the person is done, Cancel and Stop come too late: the store goes on.
func TestKeepingIsNotTakenBack(t *testing.T) {
	run(t, &authority{results: []result{{after: time.Second}}}, func(t *testing.T, b *desk) {
		b.keep = func(ctx context.Context, _ string, _ token.Grant) (string, error) {
			return "ops", sleep(ctx, 5*time.Second)
		}
		v := b.start(t, "ops", token.FlowDevice)
		time.Sleep(2 * time.Second)
		if got, err := b.Cancel(v.ID); err != nil || got.State != StatePending {
			t.Errorf("%+v %v", got, err)
		}
		b.Stop()
		if got, err := b.SignIn(v.ID); err != nil || got.State != StateSucceeded {
			t.Errorf("%+v %v", got, err)
		}
	})
}

func TestKeepIsBounded(t *testing.T) {
	run(t, &authority{results: []result{{}}}, func(t *testing.T, b *desk) {
		b.keep = func(ctx context.Context, _ string, _ token.Grant) (string, error) { return "", sleep(ctx, time.Hour) }
		begin := time.Now()
		if v := b.wait(t, b.start(t, "ops", token.FlowDevice).ID); v.State != StateFailed || time.Since(begin) != keepTimeout {
			t.Errorf("%+v after %v", v, time.Since(begin))
		}
	})
}

func TestStop(t *testing.T) {
	a := &authority{}
	run(t, a, func(t *testing.T, b *desk) {
		v := b.start(t, "ops", token.FlowDevice)
		synctest.Wait()
		a.startAfter = 5 * time.Second
		var wg sync.WaitGroup
		wg.Go(func() { // still being started
			_, _, err := b.Start(t.Context(), Request{Account: "other", Flow: token.FlowDevice})
			if token.KindOf(err) != token.KindCancelled {
				t.Errorf("%v", err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() { _ = b.Run(ctx) })
		cancel()
		wg.Wait()
		if got, err := b.SignIn(v.ID); err != nil || got.State != StateCancelled {
			t.Errorf("%+v %v", got, err)
		}
		_, _, err := b.Start(t.Context(), Request{Account: "ops", Flow: token.FlowDevice})
		if token.KindOf(err) != token.KindUnavailable {
			t.Errorf("%v", err)
		}
		if _, changes := b.seen(); changes != "[pending cancelled]" {
			t.Errorf("changes %v", changes)
		}
	})
}

func TestForgets(t *testing.T) {
	run(t, &authority{}, func(t *testing.T, b *desk) {
		v := b.start(t, "ops", token.FlowDevice)
		if _, err := b.Cancel(v.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keptFor)
		if _, err := b.SignIn(v.ID); err != nil {
			t.Errorf("forgotten too early: %v", err)
		}
		time.Sleep(time.Second)
		for _, f := range []func() error{
			func() error { _, err := b.SignIn(v.ID); return err },
			func() error { _, err := b.Wait(t.Context(), v.ID); return err },
			func() error { _, err := b.Cancel(v.ID); return err },
		} {
			if err := f(); token.KindOf(err) != token.KindNotFound {
				t.Errorf("%v", err)
			}
		}
	})
}

func TestBounds(t *testing.T) {
	run(t, &authority{}, func(t *testing.T, b *desk) {
		for range maxEnded + 10 {
			if _, err := b.Cancel(b.start(t, "ops", token.FlowDevice).ID); err != nil {
				t.Fatal(err)
			}
		}
		if len(b.sessions) != maxEnded || len(b.ended) != maxEnded {
			t.Errorf("%d sessions, %d ended", len(b.sessions), len(b.ended))
		}
		for i := range maxPending {
			b.start(t, fmt.Sprint(i), token.FlowDevice)
		}
		_, _, err := b.Start(t.Context(), Request{Account: "one more", Flow: token.FlowDevice})
		if token.KindOf(err) != token.KindRateLimited {
			t.Errorf("%v", err)
		}
	})
}
