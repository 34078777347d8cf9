package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/refresh"
	"github.com/m365-token-broker/broker/internal/token"
)

// authority redeems like Entra with revoke-on-use: each account has one live
// refresh token, and a redemption with another fails.
type authority struct {
	mu       sync.Mutex
	calls    []token.Request
	inside   map[string]int // redemptions now running, by account
	overlaps int
	latency  time.Duration
	lifetime time.Duration
	fail     error
}

func newAuthority() *authority {
	return &authority{inside: map[string]int{}, latency: 100 * time.Millisecond, lifetime: time.Hour}
}

func (a *authority) Token(ctx context.Context, req token.Request) (token.Token, error) {
	a.mu.Lock()
	a.calls = append(a.calls, req)
	n := len(a.calls)
	a.inside[req.Key.Account]++
	if a.inside[req.Key.Account] > 1 {
		a.overlaps++
	}
	latency, fail, lifetime := a.latency, a.fail, a.lifetime
	a.mu.Unlock()
	defer func() { a.mu.Lock(); a.inside[req.Key.Account]--; a.mu.Unlock() }()
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return token.Token{}, ctx.Err()
	}
	if fail != nil {
		return token.Token{}, fail
	}
	now := time.Now()
	return token.Token{
		Access: token.NewSecret(fmt.Sprintf("token-%d-%s", n, req.Key.Resource)), Scope: "s",
		ObtainedOn: now, ExpiresOn: now.Add(lifetime),
	}, nil
}

func (a *authority) count() int { a.mu.Lock(); defer a.mu.Unlock(); return len(a.calls) }

func (a *authority) set(f func(*authority)) { a.mu.Lock(); defer a.mu.Unlock(); f(a) }

func newCache(a *authority) *Cache { return New(Config{Source: a, Hold: refresh.Hold}) }

var graph, ews = token.Key{Account: "ops", Resource: "graph"}, token.Key{Account: "ops", Resource: "ews"}

func ofOps(k token.Key) bool { return k.Account == "ops" }

func get(t *testing.T, c *Cache, req token.Request) Answer {
	t.Helper()
	ans, err := c.Token(t.Context(), req)
	if err != nil {
		t.Fatalf("Token(%+v): %v", req, err)
	}
	return ans
}

func TestStampedeIsOneRequestPerResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		for round := range 3 { // cold, then expired twice
			var wg sync.WaitGroup
			var failed atomic.Int64
			for i := range 1000 {
				for _, k := range []token.Key{graph, ews} {
					wg.Go(func() {
						req := token.Request{Key: k}
						if i%2 == 1 {
							req.MinValidity = time.Minute
						}
						if _, err := c.Token(t.Context(), req); err != nil {
							failed.Add(1)
						}
					})
				}
			}
			wg.Wait()
			if got, want := a.count(), 2*(round+1); got != want || failed.Load() != 0 {
				t.Fatalf("round %d: %d upstream requests in all, want %d; %d callers failed", round, got, want, failed.Load())
			}
			time.Sleep(2 * time.Hour)
		}
		if a.overlaps != 0 {
			t.Errorf("%d redemptions of one account ran at the same time", a.overlaps)
		}
	})
}

func TestTheStarterMayGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.latency = 5 * time.Second
		c := newCache(a)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		starter := make(chan error, 1)
		go func() { _, err := c.Token(ctx, token.Request{Key: graph}); starter <- err }()
		synctest.Wait()
		ans := get(t, c, token.Request{Key: graph})
		if err := <-starter; token.KindOf(err) != token.KindTimeout {
			t.Errorf("the starter got %v, want its own timeout", err)
		}
		if a.count() != 1 || ans.Entry == nil {
			t.Errorf("%d upstream requests, want the one that the starter began", a.count())
		}
	})
}

func TestOneRedemptionIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.latency = time.Hour
		c := newCache(a)
		began := time.Now()
		_, err := c.Token(t.Context(), token.Request{Key: graph})
		if token.KindOf(err) != token.KindTimeout || time.Since(began) != 20*time.Second {
			t.Errorf("after %v: %v; want a timeout after 20 s", time.Since(began), err)
		}
	})
}

func TestValidTokenSurvivesFailure(t *testing.T) {
	down := &token.Error{Kind: token.KindUnavailable, Status: 503}
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		first := get(t, c, token.Request{Key: graph})
		a.set(func(a *authority) { a.fail = down })
		time.Sleep(55 * time.Minute)
		ans := get(t, c, token.Request{Key: graph, MinValidity: 10 * time.Minute})
		if ans.Entry.ETag() != first.Entry.ETag() || !ans.FromCache || ans.Warning == nil {
			t.Error("want the token in hand, and the warning")
		}
		if got := a.count(); got != 2 {
			t.Errorf("%d upstream requests, want 2", got)
		}
		get(t, c, token.Request{Key: graph, MinValidity: 10 * time.Minute})
		if got := a.count(); got != 2 {
			t.Errorf("a remembered failure cost a request: %d", got)
		}
		time.Sleep(10 * time.Minute)
		_, err := c.Token(t.Context(), token.Request{Key: graph})
		if token.KindOf(err) != token.KindUnavailable {
			t.Errorf("after expiry: %v, want upstream-unavailable", err)
		}
	})
}

func TestForceTellsWhatOnlyAPersonCanMend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		first := get(t, c, token.Request{Key: graph})
		a.set(func(a *authority) { a.fail = &token.Error{Kind: token.KindUnavailable, Status: 503} })
		if ans := get(t, c, token.Request{Key: graph, Force: true}); ans.Entry != first.Entry || ans.Warning == nil {
			t.Error("an outage: want the token in hand, with a warning")
		}
		time.Sleep(time.Minute)
		a.set(func(a *authority) { a.fail = &token.Error{Kind: token.KindSignInRequired} })
		if _, err := c.Token(t.Context(), token.Request{Key: graph, Force: true}); token.KindOf(err) != token.KindSignInRequired {
			t.Errorf("revoked: %v, want sign-in-required", err)
		}
		if ans := get(t, c, token.Request{Key: graph}); ans.Entry != first.Entry {
			t.Error("who did not force goes on with the valid token")
		}
	})
}

func TestFailuresAreRemembered(t *testing.T) {
	tests := []struct {
		name      string
		err       *token.Error
		other     bool          // the account's other resource is held too
		hold      time.Duration // until the next request goes upstream
		retryable bool
	}{
		{"sign-in", &token.Error{Kind: token.KindSignInRequired, OAuthError: "invalid_grant", SubError: "bad_token"}, true, 2 * time.Minute, false},
		{"step-up for one resource", &token.Error{Kind: token.KindSignInRequired, Claims: "{}"}, false, 2 * time.Minute, false},
		{"policy", &token.Error{Kind: token.KindPolicyBlocked}, false, 15 * time.Minute, false},
		{"bare 503", &token.Error{Kind: token.KindUnavailable, Status: 503}, true, time.Minute, true},
		{"Retry-After", &token.Error{Kind: token.KindThrottled, RetryAfter: 7 * time.Second}, true, 7 * time.Second, true},
		{"loop", &token.Error{Kind: token.KindThrottled, AADSTS: 50196}, true, 5 * time.Minute, true},
		{"network", &token.Error{Kind: token.KindUnavailable}, true, 5 * time.Second, true},
		{"foreign error", errorsNew("boom"), false, 5 * time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority()
				a.latency = 0
				a.fail = tt.err
				c := newCache(a)
				ask := func(k token.Key) *token.Error {
					_, err := c.Token(t.Context(), token.Request{Key: k})
					return token.AsError(err)
				}
				first := ask(graph)
				time.Sleep(time.Second)
				again := ask(graph)
				if first.Kind != tt.err.Kind || again.Kind != tt.err.Kind || a.count() != 1 {
					t.Fatalf("got %v, then %v, with %d requests", first, again, a.count())
				}
				if got := again.RetryAfter > 0; got != tt.retryable {
					t.Errorf("RetryAfter = %v", again.RetryAfter)
				}
				if tt.retryable && (first.RetryAfter != tt.hold || again.RetryAfter != tt.hold-time.Second) {
					t.Errorf("RetryAfter = %v, a second later %v, want %v", first.RetryAfter, again.RetryAfter, tt.hold)
				}
				ask(ews)
				if held := a.count() == 1; held != tt.other {
					t.Errorf("the other resource is held: %v, want %v", held, tt.other)
				}
				a.set(func(a *authority) { a.calls = nil })
				time.Sleep(tt.hold - 1500*time.Millisecond)
				if ask(graph); a.count() != 0 {
					t.Error("asked again too early")
				}
				time.Sleep(time.Second)
				if ask(graph); a.count() != 1 {
					t.Errorf("did not ask again after %v", tt.hold)
				}
			})
		})
	}
}

func errorsNew(s string) *token.Error { return token.AsError(errors.New(s)) }

func TestForgetAfterSignIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.fail = &token.Error{Kind: token.KindSignInRequired}
		c := newCache(a)
		if _, err := c.Token(t.Context(), token.Request{Key: graph}); err == nil {
			t.Fatal("want an error")
		}
		a.set(func(a *authority) { a.fail = nil })
		c.Drop(ofOps)
		c.Drop(func(token.Key) bool { return false })
		get(t, c, token.Request{Key: graph})
	})
}

func TestForgetUnpublishesAFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		done := make(chan Answer, 1)
		go func() { done <- get(t, c, token.Request{Key: graph}) }()
		synctest.Wait()
		c.Drop(ofOps)
		if (<-done).Entry == nil {
			t.Error("the waiter got nothing")
		}
		if c.slot(graph).entry.Load() != nil {
			t.Error("a forgotten account's token was published")
		}
		get(t, c, token.Request{Key: graph})
		if a.count() != 2 {
			t.Errorf("%d requests, want 2", a.count())
		}
	})
}

func TestForceAndClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		first := get(t, c, token.Request{Key: graph})
		forced := get(t, c, token.Request{Key: graph, Force: true})
		if forced.Entry.ETag() == first.Entry.ETag() || forced.FromCache {
			t.Error("force did not redeem")
		}
		claims := token.Request{Key: graph, Claims: `{"access_token":{}}`}
		withClaims := get(t, c, claims)
		if a.calls[2].Claims != claims.Claims {
			t.Errorf("claims %q reached the authority", a.calls[2].Claims)
		}
		same := get(t, c, claims)
		if same.Entry.ETag() != withClaims.Entry.ETag() || a.count() != 3 {
			t.Error("the same claims within a minute are one redemption")
		}
		var limited *token.Error
		for range 5 {
			if _, err := c.Token(t.Context(), token.Request{Key: graph, Force: true}); err == nil {
				time.Sleep(time.Millisecond)
			} else {
				limited = token.AsError(err)
			}
		}
		if limited == nil || limited.Kind != token.KindRateLimited || limited.RetryAfter == 0 {
			t.Errorf("force beyond the limit: %v, want rate-limited", limited)
		}
		if n := a.count(); n != 5 { // the first, one challenge, and three by force
			t.Errorf("%d redemptions, want the limit of 3 in a burst", n)
		}
		var err error
		for i := range 5 {
			_, err = c.Token(t.Context(), token.Request{Key: graph, Claims: fmt.Sprintf(`{"x":%d}`, i)})
		}
		if token.KindOf(err) != token.KindRateLimited {
			t.Errorf("claims beyond the limit: %v, want rate-limited", err)
		}
	})
}

func TestAChallengeThatFailsHoldsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		a.set(func(a *authority) { a.fail = &token.Error{Kind: token.KindSignInRequired, Claims: "{}"} })
		bad := token.Request{Key: graph, Claims: `{"access_token":{}}`}
		for range 3 {
			if _, err := c.Token(t.Context(), bad); token.KindOf(err) != token.KindSignInRequired {
				t.Fatalf("challenge: %v", err)
			}
		}
		if a.count() != 1 {
			t.Errorf("the same challenge cost %d requests", a.count())
		}
		a.set(func(a *authority) { a.fail = nil })
		get(t, c, token.Request{Key: graph})
		if sts := c.Statuses(); len(sts) != 1 || sts[0].Problem != nil {
			t.Errorf("statuses %+v", sts)
		}
	})
}

func TestMinValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.latency = 0
		c := newCache(a)
		ask := func(d time.Duration) int {
			get(t, c, token.Request{Key: graph, MinValidity: d})
			return a.count()
		}
		ask(0)
		for range 10 { // almost the lifetime: not one redemption per call
			time.Sleep(61 * time.Second)
			if n := ask(59 * time.Minute); n != 1 {
				t.Fatalf("59 min were asked for after %v: %d requests", time.Minute, n)
			}
		}
		time.Sleep(20 * time.Minute)
		if n := ask(20 * time.Minute); n != 1 {
			t.Errorf("30 min are left, 20 were asked for: %d requests", n)
		}
		if n := ask(40 * time.Minute); n != 2 {
			t.Errorf("30 min are left, 40 were asked for: %d requests", n)
		}
		if n := ask(10 * time.Hour); n != 2 {
			t.Errorf("more than the authority gives must not cost a request per call: %d", n)
		}
		time.Sleep(20 * time.Minute)
		if n := ask(10 * time.Hour); n != 3 {
			t.Errorf("but the longest there is: %d requests", n)
		}
	})
}

func TestShortLifetimesAreCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.latency, a.lifetime = 0, time.Minute
		c := newCache(a)
		for range 50 {
			get(t, c, token.Request{Key: graph})
			time.Sleep(time.Second)
		}
		if a.count() != 1 {
			t.Errorf("%d requests for a one-minute token within 50 s", a.count())
		}
		time.Sleep(10 * time.Second)
		get(t, c, token.Request{Key: graph})
		if a.count() != 2 {
			t.Errorf("%d requests after it expired, want 2", a.count())
		}
	})
}

func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		first := get(t, c, token.Request{Key: graph}).Entry
		if e, err := c.Changed(t.Context(), graph, `W/"other"`); err != nil || e != first {
			t.Errorf("an unknown tag is answered at once: %v, %v", e, err)
		}
		done := make(chan *Entry, 1)
		go func() { e, _ := c.Changed(t.Context(), graph, first.ETag()); done <- e }()
		synctest.Wait()
		next := get(t, c, token.Request{Key: graph, Force: true}).Entry
		if e := <-done; e != next {
			t.Errorf("Changed gave %v", e)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Changed(ctx, graph, next.ETag()); token.KindOf(err) != token.KindTimeout {
			t.Errorf("after the wait: %v", err)
		}
	})
}

func TestBackgroundRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		s := refresh.New(refresh.Config{Target: c, Log: discard})
		c.cfg.Published = s.Wake
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		for range 60 { // five hours, asked every five minutes: nobody ever waits
			if ans := get(t, c, token.Request{Key: graph}); a.count() > 1 && !ans.FromCache {
				t.Fatal("a consumer waited for a renewal")
			}
			time.Sleep(5 * time.Minute)
		}
		if n := a.count(); n < 6 || n > 8 {
			t.Errorf("%d redemptions in five hours, want about 7", n)
		}
		cancel()
		<-ended
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestStatusesShowTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		c.Declare(graph, ews)
		get(t, c, token.Request{Key: graph})
		a.set(func(a *authority) { a.fail = &token.Error{Kind: token.KindSignInRequired} })
		if err := c.Refresh(t.Context(), graph); token.KindOf(err) != token.KindSignInRequired {
			t.Fatalf("Refresh: %v", err)
		}
		sts := c.Statuses()
		var st Status
		for _, s := range sts {
			if s.Renewal.Key == graph {
				st = s
			}
		}
		if st.Problem == nil || !st.Renewal.Dead || time.Until(st.Renewal.HoldUntil) != 2*time.Minute {
			t.Errorf("status %+v", st)
		}
	})
}

func TestSleepAndClockCount(t *testing.T) {
	// The wall clock is what sees a machine's sleep: an entry must expire by it
	// even though the monotonic clock stood still, and the other way round.
	now := time.Now()
	e := newEntry(graph, token.Token{Access: token.NewSecret("x"), ObtainedOn: now, ExpiresOn: now.Add(time.Hour)}, new(atomic.Int64))
	if left := e.left(now.Round(0).Add(2 * time.Hour)); left > 0 {
		t.Errorf("the wall clock says expired, left = %v", left)
	}
	e.expires = e.expires.Add(3 * time.Hour) // as if the clock had been set back by three hours
	if left := e.left(time.Now().Add(61 * time.Minute)); left > 0 {
		t.Errorf("the monotonic clock says expired, left = %v", left)
	}
}

func TestExpiresInCountsSleep(t *testing.T) {
	now := time.Now()
	e := newEntry(graph, token.Token{Access: token.NewSecret("x"), ObtainedOn: now, ExpiresOn: now.Add(time.Hour)}, new(atomic.Int64))
	var got struct {
		ExpiresIn int `json:"expires_in"`
	}
	asleep := now.Round(0).Add(55 * time.Minute) // the wall clock after a sleep in which the monotonic one stood still
	if err := json.Unmarshal(e.AppendJSON(nil, asleep, true), &got); err != nil || got.ExpiresIn > 300 {
		t.Errorf("expires_in %d, %v", got.ExpiresIn, err)
	}
	if e.Token().ExpiresOn.Sub(asleep) > 5*time.Minute {
		t.Error("the schedule does not see the sleep")
	}
}

func TestQueuedRedemptionsHeedTheTroubleAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.latency = 10 * time.Second
		a.fail = &token.Error{Kind: token.KindThrottled, RetryAfter: 10 * time.Minute}
		c := newCache(a)
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				_, err := c.Token(t.Context(), token.Request{Key: token.Key{Account: "ops", Resource: fmt.Sprint(i)}})
				if token.KindOf(err) != token.KindThrottled {
					t.Errorf("resource %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if a.count() != 1 || time.Since(began) != 10*time.Second {
			t.Errorf("%d requests in %v, want one", a.count(), time.Since(began))
		}
	})
}

func TestCloseRefusesNewRedemptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		c := newCache(a)
		if err := c.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Token(t.Context(), token.Request{Key: graph}); token.KindOf(err) != token.KindUnavailable || a.count() != 0 {
			t.Errorf("after Close: %v, %d requests", err, a.count())
		}
	})
}

func TestChangedEndsWithTheSignOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(newAuthority())
		first := get(t, c, token.Request{Key: graph}).Entry
		done := make(chan *Entry, 1)
		go func() { e, _ := c.Changed(t.Context(), graph, first.ETag()); done <- e }()
		synctest.Wait()
		c.Drop(ofOps)
		if e := <-done; e != nil {
			t.Errorf("Changed gave %v", e)
		}
	})
}

func TestAppendJSON(t *testing.T) {
	now := time.Now()
	tok := token.Token{Access: token.NewSecret(`CANARY"x`), ObtainedOn: now, ExpiresOn: now.Add(90*time.Second + time.Millisecond), Scope: "a b"}
	e := newEntry(graph, tok, new(atomic.Int64))
	var got map[string]any
	if err := json.Unmarshal(e.AppendJSON(nil, now, true), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"access_token": `CANARY"x`, "token_type": "Bearer", "expires_on": float64(tok.ExpiresOn.Unix()), "expires_in": 90.0,
		"resource": "graph", "scope": "a b", "account": "ops", "source": "cache",
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s = %v, want %v", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("fields: %v", got)
	}
	if e.Authorization().Reveal() != `Bearer CANARY"x` || !e.Token().Access.Equal(tok.Access) {
		t.Error("the header's value and the token differ")
	}
	if s := fmt.Sprintf("%v %+v %#v", e, e, *e); strings.Contains(s, "CANARY") {
		t.Error("an Entry prints its token")
	}
	if !json.Valid(e.AppendJSON(nil, now.Add(time.Hour), false)) {
		t.Error("not JSON after the expiry")
	}
}
