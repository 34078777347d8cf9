package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// A restart needs no person: the sign-in and the consumers are where they were,
// also at an authority that takes every refresh token once.
func TestARestartNeedsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{RevokeUsed: true}})
	w.ready()
	before := w.token("graph")
	for range 3 {
		w.restart()
		if got := w.token("graph"); got.AccessToken == before.AccessToken || got.Source != "refresh" {
			t.Errorf("after the restart: source %s", got.Source)
		}
		w.token("ews")
	}
	if got := w.sb.Stats().SignIns; got != 1 {
		t.Errorf("%d sign-ins", got)
	}
	var list httpapi.ConsumerList
	w.call(w.admin, http.MethodGet, "/v1/consumers", "").into(&list)
	if len(list.Consumers) != 1 || list.Consumers[0].Name != "app" {
		t.Errorf("consumers %+v", list.Consumers)
	}
}

// A key that was rotated out works until its time is over, restart or not, and
// not a moment longer.
func TestARotatedKeyEndsInItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, worldOptions{yaml: "listen: 127.0.0.1:8477\n"})
		defer w.close()
		w.ready()
		var made httpapi.ConsumerKey
		w.call(w.admin, http.MethodPost, "/v1/consumers/app/rotate", `{"overlap_seconds":3600}`).into(&made)
		status := func(key string) int { return w.call(key, http.MethodGet, "/v1/token?resource=graph", "").status }
		for _, key := range []string{w.key, made.Key} {
			if got := status(key); got != http.StatusOK {
				t.Errorf("within the overlap: status %d", got)
			}
		}
		time.Sleep(30 * time.Minute)
		w.restart()
		if got := status(w.key); got != http.StatusOK {
			t.Errorf("the old key after a restart: status %d", got)
		}
		time.Sleep(30*time.Minute - time.Second)
		if got := status(w.key); got != http.StatusOK {
			t.Errorf("the old key a second before its end: status %d", got)
		}
		time.Sleep(time.Second)
		if old, fresh := status(w.key), status(made.Key); old != http.StatusUnauthorized || fresh != http.StatusOK {
			t.Errorf("after the overlap: old key %d, new key %d", old, fresh)
		}
		w.restart()
		if old, fresh := status(w.key), status(made.Key); old != http.StatusUnauthorized || fresh != http.StatusOK {
			t.Errorf("after the overlap and a restart: old key %d, new key %d", old, fresh)
		}
	})
}

// New settings come into force while the broker runs; wrong ones do not, and the
// log says why.
func TestSettingsAreReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	w.ready()
	w.token("graph")
	key := consumer.NewKey()
	ask := func(query string) answer { return w.try(key.Reveal(), http.MethodGet, "/v1/token?"+query, "") }
	const dropIn = "conf/conf.d/more.yaml"
	w.write(dropIn, `accounts: {ops: {username: `+alice+`}}
resources: {mail: {scopes: ["https://graph.microsoft.com/Mail.Read"]}}
consumers: {late: {key_sha256: ["`+consumer.HashKey(key)+`"], accounts: [ops], resources: [mail]}}
`)
	w.eventually("the new consumer is known", func() bool { return ask("resource=mail").status == http.StatusOK })
	var got httpapi.Token
	ask("resource=mail&account=ops").into(&got)
	if got.Account != "ops" || !strings.Contains(got.Scope, "Mail.Read") {
		t.Errorf("account %s, scope %s", got.Account, got.Scope)
	}
	if a := ask("resource=graph"); a.status != http.StatusForbidden {
		t.Errorf("beyond its policy: %d", a.status)
	}
	if v := w.account("ops"); v.Account != "ops" || v.Username != alice || v.State != httpapi.AccountStateOk {
		t.Errorf("account %+v", v)
	}
	w.token("graph") // whoever knew the account by its user name goes on

	good := w.read(dropIn)
	w.write(dropIn, good+"consumer: {}\n")
	w.eventually("the wrong settings are refused", func() bool { return strings.Contains(w.log.String(), "the new configuration is refused") })
	if log := w.log.String(); !strings.Contains(log, "more.yaml:4") || !strings.Contains(log, "consumers") {
		t.Errorf("the log does not name the place and the nearest key:\n%s", log[strings.LastIndex(log, "refused")-200:])
	}
	if a := ask("resource=mail"); a.status != http.StatusOK {
		t.Errorf("after a refused reload: %d %s", a.status, a.body)
	}
	if err := os.Remove(w.path(dropIn)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the consumer is gone", func() bool { return ask("resource=mail").status == http.StatusUnauthorized })
	w.token("graph")
	w.stop()
	audited := strings.Join(w.audited(), "\n")
	for _, key := range []string{`accounts\.[0-9a-f]{16}\.username`, `consumers\.late\.accounts`, `resources\.mail\.scopes`} {
		if !regexp.MustCompile(key).MatchString(audited) {
			t.Errorf("the audit log does not have the change of %s:\n%s", key, audited)
		}
	}
}

// What a second broker is told, and one whose port is taken.
func TestOneBrokerPerStateDirectoryAndPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{})
	code, _, stderr := w.run("serve")
	if code != exitFailed || !strings.Contains(stderr, "another broker (pid ") || !strings.Contains(stderr, strings.TrimPrefix(w.base, "http://")) || !strings.Contains(stderr, "--state-dir") {
		t.Errorf("a second broker: code %d, %s", code, stderr)
	}
	elsewhere := filepath.Join(t.TempDir(), "state")
	var out, errs lockedText
	code = run(t.Context(), []string{
		"serve", "--config", w.path("conf/broker.yaml"), "--state-dir", elsewhere, "--listen", strings.TrimPrefix(w.base, "http://"),
	}, w.environment(&out, &errs))
	if code != exitFailed || !strings.Contains(errs.String(), "is in use") || !strings.Contains(errs.String(), "listen") {
		t.Errorf("a taken port: code %d, %s", code, errs.String())
	}
	if got := w.call("", http.MethodGet, "/livez", ""); got.status != http.StatusOK {
		t.Error("the first broker was disturbed")
	}
}

// A request that waits for a slow authority when the broker is told to stop is
// answered, and the refresh token that it rotated is stored: at this authority
// the old one would end the sign-in.
func TestAStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{RevokeUsed: true, Latency: 700 * time.Millisecond}})
	w.ready()
	inFlight := make(chan answer, 1)
	go func() { inFlight <- w.try(w.key, http.MethodGet, "/v1/token?resource=graph", "") }()
	w.eventually("the redemption starts", func() bool { return w.redemptions() == 1 })
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
	var v httpapi.Token
	a := <-inFlight
	if a.err != nil {
		t.Fatal(a.err)
	}
	a.into(&v)
	w.start()
	w.token("graph")
	if got := w.sb.Stats(); got.SignIns != 1 || got.Redemptions != 2 {
		t.Errorf("%d sign-ins, %d redemptions", got.SignIns, got.Redemptions)
	}
}

// A caller that gives up does not lose the refresh token that is being rotated
// for it.
func TestACallerThatGivesUpLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{sandbox: sandbox.Config{RevokeUsed: true, Latency: 300 * time.Millisecond}})
	w.ready()
	patient := w.client
	w.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 50 * time.Millisecond}
	if a := w.try(w.key, http.MethodGet, "/v1/token?resource=graph", ""); a.err == nil {
		t.Error("the caller did not give up")
	}
	w.client = patient
	w.token("graph")
	if got := w.sb.Stats().Redemptions; got != 1 {
		t.Errorf("%d redemptions, want the one that was begun", got)
	}
	w.restart()
	w.token("graph")
}
