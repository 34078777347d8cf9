package main

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// crowd is how many callers ask at the same time, over connections of their own.
const crowd = 1000

// stampede lets the callers start at once, and gives the answers that were not
// 200, with the number of different tokens.
func (w *world) stampede(paths func(caller int) (key, path string)) (failed []string, tokens int) {
	w.t.Helper()
	start := make(chan struct{})
	answers := make([]answer, crowd)
	var group sync.WaitGroup
	for i := range answers {
		group.Go(func() {
			key, path := paths(i)
			<-start
			answers[i] = w.try(key, http.MethodGet, path, "")
		})
	}
	close(start)
	group.Wait()
	seen := map[string]bool{}
	for _, a := range answers {
		if a.err != nil || a.status != http.StatusOK {
			failed = append(failed, fmt.Sprintf("%d %s %v", a.status, a.body, a.err))
			continue
		}
		var v httpapi.Token
		a.into(&v)
		seen[v.AccessToken] = true
	}
	return failed[:min(len(failed), 3)], len(seen)
}

// A thousand callers for two tokens that are gone cost two requests to an authority
// that revokes a sign-in whose refresh token is used twice.
func TestAThousandCallersCostTwoRequests(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{
		sandbox: sandbox.Config{RevokeUsed: true, Latency: 50 * time.Millisecond},
		yaml:    "telemetry: {log_level: info, log_format: json}\n",
	})
	w.ready()
	w.token("graph")
	w.token("ews")
	w.signIn(alice) // drops both
	before := w.redemptions()
	failed, tokens := w.stampede(func(i int) (key, path string) {
		return w.key, "/v1/token?resource=" + []string{"graph", "ews"}[i%2]
	})
	if len(failed) > 0 || tokens != 2 {
		t.Errorf("%d different tokens; failed: %v", tokens, failed)
	}
	if got := w.redemptions() - before; got != 2 {
		t.Errorf("%d requests to the authority, want 2", got)
	}
	if got := w.sb.Stats().MaxConcurrent[sandbox.EndpointTokenRefresh]; got != 1 {
		t.Errorf("%d redemptions of one account at the same time", got)
	}
}

// The same when two tokens have expired that nobody asked for, and so nobody
// renewed, for two days.
func TestAThousandCallersAfterTheExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := bubbleOptions()
		o.sandbox = sandbox.Config{RevokeUsed: true, Latency: 50 * time.Millisecond}
		w := newBubble(t, o)
		defer w.close()
		w.ready()
		w.token("graph")
		w.token("ews")
		time.Sleep(48 * time.Hour)
		before := w.redemptions()
		failed, tokens := w.stampede(func(i int) (key, path string) {
			return w.key, "/v1/token?resource=" + []string{"graph", "ews"}[i%2]
		})
		if len(failed) > 0 || tokens != 2 || w.redemptions()-before != 2 {
			t.Errorf("%d different tokens, %d requests to the authority; failed: %v", tokens, w.redemptions()-before, failed)
		}
	})
}

// Fifty accounts: one request for each account's token, many accounts at a time.
func TestAThousandCallersOfFiftyAccounts(t *testing.T) {
	t.Parallel()
	var users []string
	for i := range 50 {
		users = append(users, fmt.Sprintf("user%02d@contoso.example", i))
	}
	w := newWorld(t, worldOptions{
		sandbox: sandbox.Config{RevokeUsed: true, Users: users, Latency: 20 * time.Millisecond},
		yaml:    "store: memory\ntelemetry: {log_level: info, log_format: json}\n",
	})
	var group sync.WaitGroup
	for _, user := range users {
		group.Go(func() { w.signIn(user) })
	}
	group.Wait()
	key := w.consumer("app", users...)
	before := w.redemptions()
	failed, tokens := w.stampede(func(i int) (string, string) {
		return key, fmt.Sprintf("/v1/token?resource=%s&account=%s", []string{"graph", "ews"}[i%2], users[i/2%len(users)])
	})
	if len(failed) > 0 || tokens != 2*len(users) {
		t.Errorf("%d different tokens, want %d; failed: %v", tokens, 2*len(users), failed)
	}
	if got := w.redemptions() - before; got != 2*len(users) {
		t.Errorf("%d requests to the authority, want %d", got, 2*len(users))
	}
	if got := w.sb.Stats().MaxConcurrent[sandbox.EndpointTokenRefresh]; got < 2 {
		t.Error("the accounts waited for one another")
	}
}
