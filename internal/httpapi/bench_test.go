package httpapi

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/audit"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// discard is the cheapest possible answer writer.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// bare is what GET /v1/token is measured against: an echo handler that sends the
// same bytes.
func bare(s *stack) http.Handler {
	body := s.tokens.answer.Entry.AppendJSON(nil, time.Now(), true)
	e := echo.New()
	e.GET(tokenPath, func(c echo.Context) error { return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, body) })
	return e
}

func benchStack(b *testing.B, change ...func(*Config)) *stack {
	s := newStack(b, change...)
	s.tokens.set(entry(b, strings.Repeat("CANARY-T", 230))) // as long as Entra's
	return s
}

// keeping is the real audit log, as cmd/broker joins it.
type keeping struct {
	Audit
	log *audit.Log
}

func (k keeping) Refused(_ *consumer.Identity, kind token.Kind, route, requestID string) {
	k.log.Refused("", kind, route, requestID)
}

func (k keeping) Issued(id *consumer.Identity, key token.Key, etag, requestID string) {
	k.log.Issued(id.Name, key, etag, requestID)
}

// audited is the API with an audit log.
func audited(b *testing.B) func(*Config) {
	log := audit.New(audit.Config{Dir: b.TempDir(), Hash: func(a string) string { return a }})
	log.Configure(audit.Settings{File: true})
	return func(c *Config) { c.Audit = keeping{log: log} }
}

// The handler alone.
func BenchmarkHandler(b *testing.B) {
	plain, kept := benchStack(b), benchStack(b, audited(b))
	for name, s := range map[string]*stack{"bare": plain, "unaudited": plain, "broker": kept} {
		h := s.server.Handler()
		if name == "bare" {
			h = bare(s)
		}
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, graph+"&account=ops", nil)
			r.RemoteAddr, r.Host = "127.0.0.1:50000", testHost
			r.Header.Set("Authorization", "Bearer "+s.crm)
			w := &discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				h.ServeHTTP(w, r)
			}
		})
	}
}

// What a flood of wrong keys costs, each; beside it a probe, which needs no key.
func BenchmarkWrongKey(b *testing.B) {
	for name, path := range map[string]string{"wrong": graph, "probe": "/livez"} {
		b.Run(name, func(b *testing.B) {
			s := benchStack(b, audited(b), func(c *Config) { c.Log = slog.New(slog.NewTextHandler(io.Discard, nil)) })
			h, r := s.server.Handler(), httptest.NewRequest(http.MethodGet, path, nil)
			r.RemoteAddr, r.Host = "127.0.0.1:50000", testHost
			r.Header.Set("Authorization", "Bearer "+consumer.NewKey().Reveal())
			w := &discard{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				h.ServeHTTP(w, r)
			}
		})
	}
}

// The whole way over loopback, as a consumer sees it. The two take turns, so that
// whatever else the machine does hits both: "of-bare" is how many requests the
// broker answers in the time of one of the bare handler's; the aim is 0.9.
func BenchmarkLoopback(b *testing.B) {
	s := benchStack(b, audited(b))
	bareURL, url := serveBench(b, bare(s)), serveBench(b, s.server.Handler())
	s.server.hosts = []string{strings.TrimPrefix(url, "http://")}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	get := func(url string) time.Duration {
		begin := time.Now()
		req, _ := http.NewRequest(http.MethodGet, url+graph+"&account=ops", nil)
		req.Header.Set("Authorization", "Bearer "+s.crm)
		res, err := tr.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			b.Fatalf("status %d", res.StatusCode)
		}
		return time.Since(begin)
	}
	var bareTime, time time.Duration
	for b.Loop() {
		bareTime += get(bareURL)
		time += get(url)
	}
	b.ReportMetric(float64(bareTime)/float64(time), "of-bare")
	b.ReportMetric(float64(time.Nanoseconds())/float64(b.N), "ns/token")
}

func serveBench(b *testing.B, h http.Handler) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: answerTime, WriteTimeout: answerTime}
	go func() { _ = srv.Serve(l) }()
	b.Cleanup(func() { _ = srv.Close() })
	return "http://" + l.Addr().String()
}

func BenchmarkStart(b *testing.B) {
	s := newStack(b)
	for b.Loop() {
		if _, err := New(s.server.cfg); err != nil {
			b.Fatal(err)
		}
	}
}
