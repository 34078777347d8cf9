package notify

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/token"
)

// absolute is a path that is absolute on this system.
func absolute(name string) string {
	if runtime.GOOS == "windows" {
		return `C:\hooks\` + name + ".exe"
	}
	return "/hooks/" + name
}

const wantBody = `{"id":320,"severity":"error","subject":"mapi/archive","state":"needs_user","reason":"sign_in",` +
	`"text":"Outlook asks DOM\\svc-archive to sign in.","action":"Log on as DOM\\svc-archive on BOX and sign in to Outlook.",` +
	`"host":"BOX","on":"2026-11-22T07:30:00Z","repeat":1,"count":3,"key":"k1"}` + "\n"

// TestEverySink: one event, as each receiver gets it.
func TestEverySink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, all())
		stop := w.start()
		w.Notify(event("k1"))
		synctest.Wait()
		stop()
		if len(w.wrote()) != 1 || len(w.posted()) != 1 || len(w.ran()) != 1 {
			t.Fatalf("%d to the event log, %d posts, %d runs", len(w.wrote()), len(w.posted()), len(w.ran()))
		}
		p := w.posted()[0]
		want := http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"m365-token-broker/v1.2.3"}, "Idempotency-Key": {"k1"},
		}
		if p.url != hook || p.body != wantBody || !cmp.Equal(p.header, want) {
			t.Errorf("posted %s\n%v\n%s", p.url, p.header, p.body)
		}
		in := w.ran()[0]
		wantEnv := []string{
			"PATH=/bin", "HOME=/home/svc", "BROKER_EVENT_ID=320", "BROKER_EVENT_SEVERITY=error", "BROKER_EVENT_SUBJECT=mapi/archive",
			"BROKER_EVENT_STATE=needs_user", "BROKER_EVENT_REASON=sign_in", `BROKER_EVENT_TEXT=Outlook asks DOM\svc-archive to sign in.`,
			`BROKER_EVENT_ACTION=Log on as DOM\svc-archive on BOX and sign in to Outlook.`,
		}
		if string(in.stdin) != wantBody || !slices.Equal(in.argv, all().Command) || !slices.Equal(in.env, wantEnv) {
			t.Errorf("ran %q\n%q\n%s", in.argv, in.env, in.stdin)
		}
		w.wantLog("level=ERROR event=320 subject=mapi/archive state=needs_user reason=sign_in repeat=1 count=3")
		if strings.Contains(w.logged(), "svc-archive") {
			t.Errorf("the log names the account:\n%s", w.logged())
		}
		for _, s := range w.Status() {
			if s.Delivered != 1 || s.Waiting+s.Failed+s.Dropped != 0 || s.Problem != "" {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestPage(t *testing.T) {
	want := "Outlook asks DOM\\svc-archive to sign in.\r\n\r\nWhat to do: Log on as DOM\\svc-archive on BOX and sign in to Outlook.\r\n\r\n" +
		"Subject: mapi/archive\r\nState: needs_user\r\nReason: sign_in\r\nReminder: 1\r\nCount: 3"
	if got := event("k").page(); got != want {
		t.Errorf("got %q", got)
	}
	if got := info("k").page(); got != "All is well.\r\n\r\nSubject: mapi/archive\r\nState: idle" {
		t.Errorf("got %q", got)
	}
	if got := (Event{Text: "a\x00b"}).page(); strings.Contains(got, "\x00") {
		t.Errorf("got %q", got)
	}
}

func TestComplete(t *testing.T) {
	now := time.Now()
	e := Event{ID: IDDue, Subject: "s", Text: strings.Repeat("ü", maxText+1), Action: "\x00"}.complete(now)
	if e.Severity != Info || !e.On.Equal(now) || e.Key == "" || len([]rune(e.Text)) != maxText+1 {
		t.Errorf("%+v", e)
	}
	if again := (Event{ID: IDDue, Subject: "s"}).complete(now.Add(time.Second)); again.Key == e.Key {
		t.Error("two events without a key have the same one")
	}
	if env := e.environ(); slices.ContainsFunc(env, func(v string) bool { return strings.Contains(v, "\x00") }) {
		t.Errorf("%q", env)
	}
}

// TestOnce: events of one key are delivered once, and again where that failed.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, quiet())
		w.answer = func(n int, _ *http.Request) (*http.Response, error) {
			return status([]int{200, 404, 200, 200, 200}[n]), nil
		}
		stop := w.start()
		for range 3 {
			w.Notify(event("k1"))
		}
		synctest.Wait()
		w.Notify(event("k1"))
		w.Notify(event("k2")) // refused
		synctest.Wait()
		w.Notify(event("k2"))
		w.Notify(Event{ID: IDDue}) // without a key: each is its own
		time.Sleep(time.Nanosecond)
		w.Notify(Event{ID: IDDue})
		synctest.Wait()
		stop()
		if len(w.posted()) != 5 {
			t.Errorf("%d posts", len(w.posted()))
		}
		if n := strings.Count(w.logged(), "event=320"); n != 3 { // two keys, and the failure
			t.Errorf("%d lines:\n%s", n, w.logged())
		}
	})
}

// TestIndependent: a webhook that never answers holds up nobody else, and order is
// kept.
func TestIndependent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, all())
		w.answer = func(_ int, r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		stop := w.start()
		for i := range 3 {
			w.Notify(info(fmt.Sprint(i)))
		}
		synctest.Wait()
		if len(w.ran()) != 3 || len(w.wrote()) != 3 || len(w.posted()) != 1 {
			t.Errorf("%d runs, %d to the event log, %d posts", len(w.ran()), len(w.wrote()), len(w.posted()))
		}
		for i, e := range w.wrote() {
			if e.Key != fmt.Sprint(i) {
				t.Errorf("%d is %s", i, e.Key)
			}
		}
		time.Sleep(11 * time.Second)
		w.wantLog("level=WARN sink=webhook hooks.example.com did not answer within 10s wait=1s")
		stop()
		w.wantLog("level=WARN sink=webhook lost=3")
	})
}

// TestNeverBlocks: without a worker too, and however many there are.
func TestNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, all())
		began := time.Now()
		w.Notify(event("first"))
		for i := range 1000 {
			w.Notify(info(fmt.Sprint(i)))
		}
		w.Notify(event("last"))
		if time.Since(began) != 0 {
			t.Errorf("took %v", time.Since(began))
		}
		for _, s := range w.Status() {
			if s.Waiting != queueMax || s.Dropped != 1002-queueMax {
				t.Errorf("%+v", s)
			}
		}
		stop := w.start()
		synctest.Wait()
		stop()
		if n := len(w.wrote()); n != queueMax || w.wrote()[0].Key != "first" || w.wrote()[1].Key != fmt.Sprint(1000-queueMax+2) || w.wrote()[n-1].Key != "last" {
			t.Errorf("%d events, first %s, %s", n, w.wrote()[0].Key, w.wrote()[1].Key)
		}
		w.wantLog("sink=event_log dropped=874", "sink=webhook dropped=874", "sink=command dropped=874")
	})
}

func TestEnqueue(t *testing.T) {
	parse := func(s string) (all []Event) {
		for key := range strings.FieldsSeq(s) {
			all = append(all, Event{Key: key, Severity: map[byte]Severity{'i': Info, 'w': Warning, 'e': Error}[key[0]]})
		}
		return all
	}
	for _, tt := range []struct{ queue, e, after, out string }{
		{"i1 w1", "e1", "i1 w1 e1", ""},
		{"i1 w1 i2", "i3", "w1 i2 i3", "i1"},
		{"w1 i1 e1", "e2", "w1 e1 e2", "i1"},
		{"w1 w2 e1", "i1", "w1 w2 e1", "i1"},
		{"w1 e1 w2", "e2", "e1 w2 e2", "w1"},
		{"e1 e2 e3", "w1", "e1 e2 e3", "w1"},
		{"e1 e2 e3", "e4", "e2 e3 e4", "e1"},
	} {
		after, out, full := enqueue(parse(tt.queue), parse(tt.e)[0], 3)
		var keys []string
		for _, e := range after {
			keys = append(keys, e.Key)
		}
		if got := strings.Join(keys, " "); got != tt.after || out.Key != tt.out || full != (tt.out != "") {
			t.Errorf("%s + %s: %s, out %s", tt.queue, tt.e, got, out.Key)
		}
	}
}

func TestMemory(t *testing.T) {
	var m memory
	for i := range memoryMax + 1 {
		if !m.add(fmt.Sprint(i)) {
			t.Fatal(i)
		}
	}
	if m.add("1") || !m.add("0") || len(m.keys) != memoryMax {
		t.Errorf("%d keys: the oldest goes, the others stay", len(m.keys))
	}
	m.forget("7")
	if !m.add("7") {
		t.Error("forgotten and still there")
	}
}

// TestConfigure: what waits goes to the new address at once; a wrong one changes
// nothing; a sink that is switched off gets nothing more.
func TestConfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, quiet())
		w.answer = func(n int, _ *http.Request) (*http.Response, error) {
			if n == 0 {
				return nil, errAway
			}
			return status(200), nil
		}
		stop := w.start()
		defer stop()
		w.Notify(event("k1"))
		synctest.Wait()
		other := Sinks{Webhook: token.NewSecret("https://other.example.com/"), Command: []string{absolute("hook")}}
		if err := w.Configure(Sinks{Webhook: token.NewSecret("ftp://CANARY")}); token.KindOf(err) != token.KindConfiguration {
			t.Errorf("%v", err)
		}
		if err := w.Configure(other); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(w.posted()) != 2 || w.posted()[1].url != "https://other.example.com/" || w.posted()[1].at != 0 {
			t.Errorf("%+v", w.posted())
		}
		w.Notify(event("k2"))
		synctest.Wait()
		if len(w.ran()) != 1 {
			t.Errorf("the new command ran %d times", len(w.ran()))
		}
		if err := w.Configure(Sinks{}); err != nil {
			t.Fatal(err)
		}
		w.Notify(event("k3"))
		synctest.Wait()
		if len(w.posted()) != 3 || len(w.ran()) != 1 || len(w.Status()) != 0 {
			t.Errorf("%d posts, %d runs, %+v", len(w.posted()), len(w.ran()), w.Status())
		}
	})
}

// TestConfigureSame: a reload that changes nothing here does not hurry anybody.
func TestConfigureSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, all())
		w.answer = func(int, *http.Request) (*http.Response, error) { return nil, errAway }
		stop := w.start()
		defer stop()
		w.Notify(event("k1"))
		synctest.Wait()
		if err := w.Configure(all()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(w.posted()) != 1 {
			t.Errorf("%d posts", len(w.posted()))
		}
	})
}

// TestSwitchedOff: an event that waits for a sink goes with it.
func TestSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, quiet())
		w.answer = func(int, *http.Request) (*http.Response, error) { return nil, errAway }
		stop := w.start()
		w.Notify(event("k1"))
		w.Notify(event("k2"))
		synctest.Wait()
		if err := w.Configure(Sinks{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		stop()
		if len(w.posted()) != 1 || strings.Contains(w.logged(), "lost=") {
			t.Errorf("%d posts\n%s", len(w.posted()), w.logged())
		}
	})
}

// TestStop: the event log gets what waits for it, the rest is told.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, all())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.Notify(event("k1"))
		w.Notify(event("k2"))
		if err := w.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if len(w.wrote()) != 2 || len(w.posted()) != 0 || len(w.ran()) != 0 {
			t.Errorf("%d to the event log, %d posts, %d runs", len(w.wrote()), len(w.posted()), len(w.ran()))
		}
		w.wantLog("sink=webhook lost=2", "sink=command lost=2")
	})
}

// TestEventLog: what it cannot hold is said, and what it refuses is tried again.
func TestEventLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Sinks{EventLog: true})
		w.writeErr = errAway
		stop := w.start()
		w.Notify(event("k1"))
		w.Notify(Event{ID: 1001, Key: "k2"})
		time.Sleep(time.Minute)
		stop()
		if len(w.wrote()) != 2 {
			t.Errorf("%d attempts", len(w.wrote()))
		}
		w.wantLog("level=WARN sink=event_log event=320 wait=1s", "level=ERROR sink=event_log event=320", "level=ERROR sink=event_log event=1001 IDs go from 1 to 1000")
	})
}

// TestTest: each sink says how it went, without a worker and without the queue.
func TestTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, all())
		program := filepath.Base(all().Command[0])
		want := []Outcome{
			{"event_log", true, "The Windows event log took the test event."},
			{"webhook", true, "hooks.example.com took the test event."},
			{"command", true, program + " took the test event."},
		}
		if diff := cmp.Diff(want, w.Test(t.Context())); diff != "" {
			t.Error(diff)
		}
		w.answer = func(int, *http.Request) (*http.Response, error) { return status(500), nil }
		w.exit = func(int, context.Context) (int, error) { return 3, nil }
		want[1] = Outcome{"webhook", false, "hooks.example.com answered 500, and is asked again."}
		want[2] = Outcome{"command", false, "The command ended with exit code 3."}
		if diff := cmp.Diff(want, w.Test(t.Context())); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(w.posted()[0].body, `"id":1,"severity":"info","subject":"notify","state":"test"`) {
			t.Error(w.posted()[0].body)
		}
		if got := newWorld(t, Sinks{}).Test(t.Context()); len(got) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// TestNoEventLog: on a system without one, asking for it changes nothing.
func TestNoEventLog(t *testing.T) {
	n, err := newNotifier(Config{Sinks: Sinks{EventLog: true}}, tools{})
	if err != nil || len(n.Status()) != 0 {
		t.Errorf("%v, %+v", err, n.Status())
	}
}

// TestRefused holds the sentences of wrong settings; none quotes the address.
func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		sinks Sinks
		want  string
	}{
		"no URL":  {Sinks{Webhook: token.NewSecret("CANARY")}, "The webhook's address is not a URL; write https://host/path."},
		"bad URL": {Sinks{Webhook: token.NewSecret("https://a b/CANARY%zz")}, "The webhook's address is not a URL; write https://host/path."},
		"http":    {Sinks{Webhook: token.NewSecret("http://hooks.example.com/CANARY")}, "The webhook's address is neither https nor on this machine; events are sent over https only."},
		"file":    {Sinks{Webhook: token.NewSecret("file:///CANARY")}, "The webhook's address is not a URL; write https://host/path."},
		"command": {Sinks{Command: []string{"hook"}}, "The command's program is not an absolute path; write it in full."},
		"no file": {Sinks{Webhook: token.NewSecret(hook), WebhookSecretFile: filepath.Join(t.TempDir(), "none")}, "The webhook's secret cannot be used: the file cannot be read: it does not exist."},
	} {
		_, err := New(Config{Sinks: tt.sinks})
		if e := token.AsError(err); err == nil || e.Kind != token.KindConfiguration || e.Detail != tt.want {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: quotes the address", name)
		}
	}
	for _, good := range []string{"http://127.0.0.1:9/x", "http://[::1]/", "http://localhost:1", "https://user:pass@h/x#y"} {
		if _, err := New(Config{Sinks: Sinks{Webhook: token.NewSecret(good)}}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// TestDocument: docs/notifications.md has every ID, each once and within what the
// event log knows, and shows what is sent.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "notifications.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented []int
	for _, row := range regexp.MustCompile(`(?m)^\| (\d+) \| (?:info|warning|error) \|`).FindAllStringSubmatch(string(text), -1) {
		id, _ := strconv.Atoi(row[1])
		documented = append(documented, id)
	}
	want := []int{
		IDTest, IDFresh, IDDue, IDTriggered, IDProof, IDBackoff, IDSuspended, IDNoSession, IDAgentMissing, IDUserNeeded, IDUnsupported, IDSession0,
		IDSignInNeeded, IDAdminNeeded, IDSignInEnds, IDAccountWell,
	}
	if diff := cmp.Diff(want, documented); diff != "" {
		t.Error(diff)
	}
	if slices.Min(want) < 1 || slices.Max(want) > 1000 || len(slices.Compact(slices.Sorted(slices.Values(want)))) != len(want) {
		t.Errorf("%v", want)
	}
	_, sample, _ := strings.Cut(string(text), "```json\n")
	sample, _, _ = strings.Cut(sample, "```")
	if want := strings.Replace(wantBody, `"key":"k1"`, `"key":"mapi/archive/needs_user/7/1"`, 1); sample != want {
		t.Errorf("the document shows\n%s\nand sent is\n%s", sample, want)
	}
}
