package notify

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

const hook = "https://hooks.example.com/services/CANARY?sig=CANARY"

// world is a Notifier with everything round it replaced.
type world struct {
	*Notifier
	t *testing.T

	mu       sync.Mutex
	began    time.Time
	log      bytes.Buffer
	posts    []post
	runs     []invocation
	written  []Event
	answer   func(n int, r *http.Request) (*http.Response, error) // the n-th post, from 0; nil: 204
	exit     func(n int, ctx context.Context) (int, error)        // the n-th run; nil: 0
	writeErr error
}

// post is one request of the webhook.
type post struct {
	at     time.Duration // since the world began
	url    string
	header http.Header
	body   string
}

func (w *world) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	n := len(w.posts)
	w.posts = append(w.posts, post{time.Since(w.began), r.URL.String(), r.Header, string(body)})
	w.mu.Unlock()
	if w.answer == nil {
		return status(http.StatusNoContent), nil
	}
	return w.answer(n, r)
}

func (w *world) run(ctx context.Context, in invocation) (int, error) {
	w.mu.Lock()
	n := len(w.runs)
	w.runs = append(w.runs, in)
	w.mu.Unlock()
	if w.exit == nil {
		return 0, nil
	}
	return w.exit(n, ctx)
}

func (w *world) write(e Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written = append(w.written, e)
	return w.writeErr
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *world) posted() []post {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.posts)
}

func (w *world) ran() []invocation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.runs)
}

func (w *world) wrote() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.written)
}

// all is every sink, with a command that exists in no test.
func all() Sinks {
	return Sinks{EventLog: true, Webhook: token.NewSecret(hook), Command: []string{absolute("hook"), "--quiet"}}
}

// quiet is the webhook alone.
func quiet() Sinks { return Sinks{Webhook: token.NewSecret(hook)} }

func newWorld(t *testing.T, s Sinks) *world {
	t.Helper()
	w := &world{t: t, began: time.Now()}
	n, err := newNotifier(w.config(s), tools{transport: w, run: w.run, write: w.write})
	if err != nil {
		t.Fatal(err)
	}
	w.Notifier = n
	return w
}

func (w *world) config(s Sinks) Config {
	return Config{
		Sinks: s, Host: "BOX", Version: "v1.2.3", Log: slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Environ: []string{"PATH=/bin", "HOME=/home/svc", "BROKER_KEY=brk_CANARY", "OTEL_EXPORTER_OTLP_HEADERS=CANARY", "LD_PRELOAD=x"},
	}
}

// start runs the Notifier; the function it returns stops it and waits.
func (w *world) start() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
}

// times are when the posts came, in seconds.
func (w *world) times() []float64 {
	var all []float64
	for _, p := range w.posted() {
		all = append(all, p.at.Seconds())
	}
	return all
}

// wantLog checks for lines that hold all words of an entry, apart by spaces.
func (w *world) wantLog(entries ...string) {
	w.t.Helper()
next:
	for _, entry := range entries {
		for line := range strings.Lines(w.logged()) {
			if holds(line, strings.Fields(entry)) {
				continue next
			}
		}
		w.t.Errorf("the log has no line with %s:\n%s", entry, w.logged())
	}
}

func holds(line string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(line, word) {
			return false
		}
	}
	return true
}

func status(code int, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: code, Header: h, Body: io.NopCloser(strings.NewReader("CANARY"))}
}

var errAway = errors.New("dial hooks.example.com/services/CANARY: away")

func event(key string) Event {
	return Event{
		ID: IDUserNeeded, Severity: Error, Subject: "mapi/archive", State: "needs_user", Reason: "sign_in",
		Text: `Outlook asks DOM\svc-archive to sign in.`, Action: `Log on as DOM\svc-archive on BOX and sign in to Outlook.`,
		On: time.Date(2026, 11, 22, 8, 30, 0, 5, time.FixedZone("CET", 3600)), Repeat: 1, Count: 3, Key: key,
	}
}

func info(key string) Event {
	return Event{ID: IDFresh, Subject: "mapi/archive", State: "idle", Text: "All is well.", Key: key}
}
