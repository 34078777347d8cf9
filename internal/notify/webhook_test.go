package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// TestPace: the waits between the attempts, and what ends them.
func TestPace(t *testing.T) {
	away := func(int, *http.Request) (*http.Response, error) { return nil, errAway }
	always := func(code int, headers ...string) func(int, *http.Request) (*http.Response, error) {
		return func(int, *http.Request) (*http.Response, error) { return status(code, headers...), nil }
	}
	once := func(code int, headers ...string) func(int, *http.Request) (*http.Response, error) {
		return func(n int, _ *http.Request) (*http.Response, error) {
			if n > 0 {
				return status(200), nil
			}
			return status(code, headers...), nil
		}
	}
	tests := []struct {
		name   string
		answer func(int, *http.Request) (*http.Response, error)
		times  []float64
		log    string
	}{
		{"network", away, []float64{0, 1, 6, 36, 156, 756}, "level=ERROR hooks.example.com cannot be reached"},
		{"500", always(500), []float64{0, 1, 6, 36, 156, 756}, "level=ERROR hooks.example.com answered 500"},
		{"503 once", once(503), []float64{0, 1}, "level=WARN answered 503 wait=1s"},
		{"429 with seconds", once(429, "Retry-After", "120"), []float64{0, 120}, "level=WARN answered 429 wait=2m0s"},
		{"less than our own wait", once(503, "Retry-After", "0"), []float64{0, 1}, ""},
		{"longer than an hour", once(503, "Retry-After", "86400"), []float64{0, 3600}, ""},
		{"date", once(503, "Retry-After", "Sat, 01 Jan 2000 00:05:00 GMT"), []float64{0, 300}, ""}, // the bubble begins at midnight
		{"rubbish", once(503, "Retry-After", "soon"), []float64{0, 1}, ""},
		{"404", always(404), []float64{0}, "level=ERROR hooks.example.com answered 404; check the address"},
		{"401 with a wish", always(401, "Retry-After", "1"), []float64{0}, "level=ERROR answered 401"},
		{"redirect", always(302, "Location", "https://evil.example.com/"), []float64{0}, "level=ERROR answered 302 redirect"},
		{"201", always(201), []float64{0}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, quiet())
				w.answer = tt.answer
				stop := w.start()
				w.Notify(event("k1"))
				time.Sleep(3 * time.Hour)
				stop()
				if !slices.Equal(w.times(), tt.times) {
					t.Errorf("attempts at %v s", w.times())
				}
				if tt.log != "" {
					w.wantLog(tt.log)
				} else if strings.Contains(w.logged(), "could not be delivered") {
					t.Errorf("given up:\n%s", w.logged())
				}
				for _, p := range w.posted() {
					if p.header.Get("Idempotency-Key") != "k1" || p.body != w.posted()[0].body {
						t.Errorf("another attempt differs: %+v", p)
					}
				}
			})
		})
	}
}

// TestNextAfterFailure: an event that is given up does not take the others along.
func TestNextAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, quiet())
		w.answer = func(n int, _ *http.Request) (*http.Response, error) {
			if n < 6 {
				return nil, errAway
			}
			return status(200), nil
		}
		stop := w.start()
		w.Notify(event("k1"))
		w.Notify(event("k2"))
		time.Sleep(time.Hour)
		s := w.Status()[0]
		stop()
		if len(w.posted()) != 7 || w.posted()[6].header.Get("Idempotency-Key") != "k2" || s.Failed != 1 || s.Delivered != 1 || s.Problem != "" {
			t.Errorf("%d posts, %+v", len(w.posted()), s)
		}
	})
}

// TestSignature: the receiver can check it, and the secret can be changed in place.
func TestSignature(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	save := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save("0123456789abcdef\n")
	synctest.Test(t, func(t *testing.T) {
		s := quiet()
		s.WebhookSecretFile = file
		w := newWorld(t, s)
		stop := w.start()
		w.Notify(event("k1"))
		synctest.Wait()
		save("fedcba9876543210")
		w.Notify(event("k2"))
		synctest.Wait()
		save("short")
		w.Notify(event("k3"))
		synctest.Wait()
		stop()
		if len(w.posted()) != 2 {
			t.Fatalf("%d posts: without its secret nothing is sent", len(w.posted()))
		}
		for i, secret := range []string{"0123456789abcdef", "fedcba9876543210"} {
			mac := hmac.New(sha256.New, []byte(secret))
			mac.Write([]byte(w.posted()[i].body))
			if got := w.posted()[i].header.Get("X-Broker-Signature"); got != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
				t.Errorf("%d: %s", i, got)
			}
		}
		w.wantLog("level=WARN holds less than 16 characters")
	})
}

// TestSecretFile: a secret that others can read is none.
func TestSecretFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for _, tt := range []struct {
		text, want string
		mode       os.FileMode
	}{
		{"0123456789abcdef", "", 0o600},
		{strings.Repeat(" ", 5000) + "0123456789abcdef", "the file is larger than 4 KiB, so that it must be another one", 0o600},
		{" \n", "the file holds less than 16 characters, which could be guessed", 0o600},
		{"0123456789abcdef", "can be reached by other users (mode 0644)", 0o644},
	} {
		if tt.mode == 0o644 && runtime.GOOS == "windows" {
			continue // files have the access list of their directory there
		}
		if err := errors.Join(os.WriteFile(file, []byte(tt.text), tt.mode), os.Chmod(file, tt.mode)); err != nil {
			t.Fatal(err)
		}
		secret, err := readSecret(file)
		if (tt.want == "" && (err != nil || string(secret) != tt.text)) || (tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want))) {
			t.Errorf("%q, %v; want %q", secret, err, tt.want)
		}
	}
	if _, err := readSecret(t.TempDir()); err == nil {
		t.Error("a directory")
	}
}

func TestHeaderKey(t *testing.T) {
	for _, plain := range []string{"k1", "mapi/archive/320/1"} {
		if headerKey(plain) != plain {
			t.Errorf("%q became %q", plain, headerKey(plain))
		}
	}
	for _, odd := range []string{"a b", "ü", "a\r\nX: y", "", strings.Repeat("x", 300)} {
		if got := headerKey(odd); odd != "" && (len(got) != 64 || got == headerKey(odd+"x")) {
			t.Errorf("%q became %q", odd, got)
		}
	}
}

// TestWords: the sentences for people, whatever the HTTP client says.
func TestWords(t *testing.T) {
	refused := syscall.ECONNREFUSED
	for want, cause := range map[string]error{
		"has a certificate that this machine does not trust; see ca_file": &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
		"is not known by name here":                                       &net.OpError{Op: "dial", Err: &net.DNSError{Name: "CANARY", IsNotFound: true}},
		"did not answer within 10s":                                       context.DeadlineExceeded,
		"refuses the connection":                                          &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", refused)},
		"cannot be reached":                                               errAway,
	} {
		if got := words(&url.Error{Op: "Post", URL: hook, Err: cause}); got != want {
			t.Errorf("%v: %s", cause, got)
		}
	}
	if words(syscall.Errno(wsaConnRefused)) != "refuses the connection" {
		t.Error("Winsock's number")
	}
}

// TestCanary: whatever goes wrong, the address and the secret are nowhere.
func TestCanary(t *testing.T) {
	answers := map[string]func() (*http.Response, error){
		"away":      func() (*http.Response, error) { return nil, errAway },
		"URL error": func() (*http.Response, error) { return nil, &url.Error{Op: "Post", URL: hook, Err: errAway} },
		"500":       func() (*http.Response, error) { return status(500), nil },
		"400":       func() (*http.Response, error) { return status(400), nil },
		"307":       func() (*http.Response, error) { return status(307, "Location", hook), nil },
		"odd":       func() (*http.Response, error) { return nil, nil }, //nolint:nilnil // a broken transport
		"200":       func() (*http.Response, error) { return status(200), nil },
	}
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("CANARY-CANARY-CANARY"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, answer := range answers {
		synctest.Test(t, func(t *testing.T) {
			s := all()
			s.WebhookSecretFile = file
			w := newWorld(t, s)
			w.answer = func(int, *http.Request) (*http.Response, error) { return answer() }
			stop := w.start()
			w.Notify(event("k1"))
			time.Sleep(time.Hour)
			outcomes, stats := w.Test(t.Context()), w.Status()
			w.Notify(event("k2"))
			stop()
			w.cfg.Log.Info("the settings", "sinks", s, "config", w.cfg, "status", stats, "outcomes", outcomes)
			if strings.Contains(strings.ReplaceAll(w.logged(), "BROKER_KEY=brk_CANARY OTEL_EXPORTER_OTLP_HEADERS=CANARY", ""), "CANARY") {
				t.Errorf("%s:\n%s", name, w.logged())
			}
			for _, in := range w.ran() {
				if strings.Contains(strings.Join(in.env, " ")+string(in.stdin), "CANARY") {
					t.Errorf("%s: the command gets %q", name, in.env)
				}
			}
		})
	}
}

// TestRealWebhook: over TLS, to a server whose root only the settings know, through
// no proxy on this machine.
func TestRealWebhook(t *testing.T) {
	var got []byte
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	proxy := func(*http.Request) (*url.URL, error) { return nil, errAway }
	for _, tt := range []struct {
		roots *x509.CertPool
		want  Outcome
	}{
		{roots, Outcome{"webhook", true, "127.0.0.1 took the test event."}},
		{x509.NewCertPool(), Outcome{"webhook", false, "127.0.0.1 has a certificate that this machine does not trust; see ca_file."}},
	} {
		n, err := New(Config{Sinks: Sinks{Webhook: token.NewSecret(server.URL + "/CANARY")}, Log: slog.New(slog.DiscardHandler), Roots: tt.roots, Proxy: proxy})
		if err != nil {
			t.Fatal(err)
		}
		if outcomes := n.Test(t.Context()); len(outcomes) != 1 || outcomes[0] != tt.want {
			t.Errorf("%+v", outcomes)
		}
	}
	if !strings.Contains(string(got), `"state":"test"`) {
		t.Errorf("%s", got)
	}
	transport := plainTransport(Config{Proxy: proxy})
	if _, err := transport.Proxy(httptest.NewRequest(http.MethodPost, hook, nil)); !errors.Is(err, errAway) {
		t.Errorf("the proxy is not asked: %v", err)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "120", "-1", "99999999999999999999", "Sat, 01 Jan 2000 00:05:00 GMT", "soon", " 7 "} {
		f.Add(s)
	}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, now); d < 0 || d > retryAfterMax {
			t.Errorf("%q: %v", s, d)
		}
	})
}
