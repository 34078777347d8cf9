package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// canaryText stands in every token, key and password of these tests.
const canaryText = "CANARY"

// aSecret is what a key or a token looks like.
var aSecret = regexp.MustCompile(`eyJ|br[kagc]_[A-Za-z0-9]{6}`)

// planted is a fault, and what the doctor must say of it.
type planted struct {
	name  string
	plant func(t *testing.T, w *world) (args []string) // more flags for the doctor
	env   map[string]string                            // of the doctor, where no broker runs
	want  finding
}

// faultBook holds every sentence against all others: a fault has its own.
type faultBook struct {
	texts map[string]string // the sentence of each fault
}

// expect plants a fault and has the doctor find it.
func (b *faultBook) expect(t *testing.T, w *world, p planted) {
	t.Helper()
	t.Run(p.name, func(t *testing.T) {
		if p.env != nil {
			w.env = p.env
		}
		var args []string
		if p.plant != nil {
			args = p.plant(t, w)
		}
		b.examine(t, w, p, args)
	})
}

// examine runs the doctor as a person would, and looks for the one finding.
func (b *faultBook) examine(t *testing.T, w *world, p planted, args []string) {
	t.Helper()
	code, out, errs := diagnose(w, args...)
	var r httpapi.DoctorReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("code %d, %v: %s%s", code, err, out, errs)
	}
	if bad := p.want.result == resultProblem; bad && (r.Ok || code != exitFailed) {
		t.Errorf("a problem, and the exit code is %d", code)
	}
	b.note(t, p, r.Checks)
	for _, text := range []string{out, errs} {
		if strings.Contains(text, canaryText) || aSecret.MatchString(text) {
			t.Errorf("a secret: %s", text)
		}
	}
}

// diagnose is `broker doctor` in JSON; of a flag that stands twice, the last counts.
func diagnose(w *world, args ...string) (code int, out, errs string) {
	var stdout, stderr lockedText
	code = run(w.t.Context(), append(w.flags("doctor", "--output", "json"), args...), w.environment(&stdout, &stderr))
	return code, stdout.String(), stderr.String()
}

// note finds the finding, and refuses a sentence that another fault has.
func (b *faultBook) note(t *testing.T, p planted, all []check) {
	t.Helper()
	var found []check
	for _, c := range all {
		if p.want.is(c) {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d findings of %+v in %s", len(found), p.want, shownChecks(all))
	}
	c := found[0]
	if c.Remedy == "" || !strings.HasSuffix(c.Text, ".") {
		t.Errorf("no whole sentence, or no remedy: %+v", c)
	}
	if other, taken := b.texts[c.Text]; taken {
		t.Errorf("%s and %s have one sentence: %s", p.name, other, c.Text)
	}
	b.texts[c.Text] = p.name
}

func shownChecks(all []check) string {
	var out strings.Builder
	_ = showChecks(&out, all) // a strings.Builder takes everything
	return out.String()
}

// TestDoctorFaults plants one fault after the other, on the disk, on the network,
// in the tenant and beside the broker. Together with the Outlook targets of
// TestDoctorFindsWhatIsPlanted they are everything that the doctor knows.
func TestDoctorFaults(t *testing.T) {
	book := &faultBook{texts: map[string]string{}}
	sb, err := sandbox.Start(t.Context(), sandbox.Config{Canary: true})
	if err != nil {
		t.Fatal(err)
	}
	w := settle(t, worldOptions{yaml: "telemetry: {log_level: error}\n"}, sb)
	for _, p := range append(localFaults(), rightsFaults()...) {
		book.expect(t, w, p)
	}
	for _, p := range wayFaults() {
		book.expect(t, w, p)
	}
	for _, p := range tenantFaults() {
		book.expect(t, w, p)
		sb.ClearFaults()
		sb.SetClock(0)
	}
	for _, p := range telemetryFaults() {
		book.expect(t, w, p)
		w.env = nil
	}
	for _, p := range consumerFaults() {
		book.expect(t, w, p)
	}
	running := newWorld(t, worldOptions{sandbox: sandbox.Config{Canary: true}, yaml: "telemetry: {log_level: error}\n"})
	running.ready()
	for _, p := range runningFaults() {
		book.expect(t, running, p)
		running.sb.ClearFaults()
	}
	for _, p := range betweenFaults(running) {
		book.expect(t, w, p)
	}
	systemFaults(t, book)
	if n := len(book.texts); n < 45 {
		t.Errorf("%d faults", n)
	}
	t.Logf("%d planted faults, each found with a sentence of its own", len(book.texts))
}

// localFaults lie on this machine, and no broker runs.
func localFaults() []planted {
	problem := func(name, text, remedy string) finding { return finding{name, text, remedy, resultProblem} }
	return []planted{
		{name: "no broker", want: problem(nameBroker, "The broker is not running.", "broker serve")},
		{name: "a wrong setting", want: problem(nameConfig, "listn: unknown key", "broker config check"), plant: func(t *testing.T, w *world) []string {
			return []string{"--config", other(t, w, "listn: 127.0.0.1:0\n")}
		}},
		{name: "no settings", want: problem(nameConfig, "is not set; run `broker init`", "broker config check"), plant: func(t *testing.T, w *world) []string {
			file := filepath.Join(t.TempDir(), "broker.yaml")
			write(t, file, "client_id: 66666666-7777-8888-9999-000000000000\n")
			return []string{"--config", file}
		}},
		{name: "the state directory is a file", want: problem(nameStateDir, "is a file.", "Choose another --state-dir"), plant: func(t *testing.T, _ *world) []string {
			file := filepath.Join(t.TempDir(), "state")
			write(t, file, "")
			return []string{"--state-dir", file}
		}},
		{name: "a damaged admin key", want: problem(nameAdminKey, "does not hold an admin key", "makes a new one"), plant: func(t *testing.T, _ *world) []string {
			dir := stateDirOf(t)
			write(t, lifecycle.AdminKeyPath(dir), "bra_"+canaryText)
			return []string{"--state-dir", dir}
		}},
		{name: "another program has the port", want: problem(namePort, "A program that is not a broker has the port of 127.0.0.1:", "choose another port with the setting listen"), plant: func(t *testing.T, _ *world) []string {
			srv := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(srv.Close)
			return []string{"--set", "listen=" + srv.Listener.Addr().String()}
		}},
		{name: "a mute program has the port", want: problem(namePort, "A program that is not a broker has the port of 127.0.0.1:", "End it"), plant: func(t *testing.T, _ *world) []string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					_ = conn.Close()
				}
			}()
			t.Cleanup(func() { _ = l.Close() })
			return []string{"--set", "listen=" + l.Addr().String()}
		}},
		{name: "a broken secret store", want: problem(nameStore, "secrets is not a directory", "The secret store failed"), plant: func(t *testing.T, _ *world) []string {
			dir := stateDirOf(t)
			write(t, filepath.Join(dir, "secrets"), "")
			return []string{"--state-dir", dir}
		}},
		{name: "a store in memory", want: finding{nameStore, "every sign-in in it ends with the broker", "store: auto", resultWarning}, plant: func(*testing.T, *world) []string {
			return []string{"--set", "store=memory"}
		}},
		{name: "nobody is signed in", want: finding{nameAccounts, "nobody can get a token", "broker login", resultWarning}},
		{name: "a changed audit log", want: problem(nameAudit, "The audit log is not as it was written", "broker audit verify"), plant: changedAudit},
		{name: "nobody would be told", want: finding{nameNotifications, "Nobody would be told", "notify.webhook", resultWarning}, plant: func(t *testing.T, w *world) []string {
			return []string{"--config", other(t, w, "notify: {event_log: false}\nmapi: {archive: {profile: Outlook}}\n")}
		}},
		{name: "EWS ends", want: finding{nameEWSExit, "April 2027", "broker ews report", resultWarning}, plant: func(t *testing.T, w *world) []string {
			return []string{"--config", other(t, w, aConsumer("legacy", "")), "--set", "resources.ews.base_url=https://outlook.office365.com"}
		}},
	}
}

// other is the world's configuration with more in a drop-in, in a directory of its
// own.
func other(t *testing.T, w *world, more string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "broker.yaml"), w.read("conf/broker.yaml"))
	if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "conf.d", "more.yaml"), more)
	return filepath.Join(dir, "broker.yaml")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stateDirOf is an empty state directory.
func stateDirOf(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	if err := lifecycle.EnsureStateDir(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// changedAudit has a broker write an audit log, and changes a line of it.
func changedAudit(t *testing.T, _ *world) []string {
	w := newWorld(t, worldOptions{yaml: "telemetry: {log_level: error}\n"})
	w.consumer("crm", alice)
	w.stop()
	files, err := filepath.Glob(filepath.Join(w.path("state/audit"), "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal("there is no audit log", err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, files[0], strings.Replace(string(data), `"crm"`, `"crx"`, 1))
	return w.flags()
}

// betweenFaults stand between the doctor and a broker that is well: a forwarder
// with the broker's lock.
func betweenFaults(w *world) []planted {
	address := strings.TrimPrefix(w.base, "http://")
	forward := func(change func(http.ResponseWriter, *http.Request, http.Handler)) func(*testing.T, *world) []string {
		return func(t *testing.T, _ *world) []string {
			to := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "http", Host: address})
				r.Out.Host = address
			}}
			srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { change(rw, r, to) }))
			t.Cleanup(srv.Close)
			dir := stateDirOf(t)
			write(t, lifecycle.AdminKeyPath(dir), w.read("state/admin.key"))
			lock, err := lifecycle.Lock(t.Context(), dir, lifecycle.Info{Listen: srv.Listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = lock.Release() })
			return []string{"--state-dir", dir}
		}
	}
	return []planted{
		{name: "a forwarder takes every Host", want: finding{nameGate, "takes a foreign Host header (HTTP 200)", "rewrites Host", resultProblem}, plant: forward(func(rw http.ResponseWriter, r *http.Request, to http.Handler) { to.ServeHTTP(rw, r) })},
		{name: "localhost is filtered", want: finding{nameGate, "does not answer to the name localhost:", "hosts file", resultProblem}, plant: forward(func(rw http.ResponseWriter, r *http.Request, to http.Handler) {
			if strings.HasPrefix(r.Host, "localhost") || strings.HasPrefix(r.Host, httpapi.ProbeHost) {
				http.Error(rw, "filtered", http.StatusForbidden)
				return
			}
			to.ServeHTTP(rw, r)
		})},
		{name: "loopback is filtered", want: finding{nameGate, "(HTTP 502)", "stands before loopback", resultProblem}, plant: forward(func(rw http.ResponseWriter, r *http.Request, to http.Handler) {
			if r.URL.Path == "/livez" {
				http.Error(rw, "filtered", http.StatusBadGateway)
				return
			}
			to.ServeHTTP(rw, r)
		})},
		{name: "another version runs", want: finding{nameBroker, "The broker is version v0.0.1, and this command is", "Restart the broker", resultWarning}, plant: forward(func(rw http.ResponseWriter, r *http.Request, to http.Handler) {
			if r.URL.Path != "/v1/status" {
				to.ServeHTTP(rw, r)
				return
			}
			var s map[string]any
			if err := json.Unmarshal(w.call(w.admin, http.MethodGet, "/v1/status", "").body, &s); err == nil {
				s["version"] = "v0.0.1"
			}
			_ = json.NewEncoder(rw).Encode(s)
		})},
		{name: "another broker has the port", want: finding{namePort, "Another broker has the port of " + address, "--state-dir", resultProblem}, plant: func(*testing.T, *world) []string {
			return []string{"--set", "listen=" + address}
		}},
		{name: "another configuration file", want: finding{nameBroker, "The broker's configuration file is", "--config of the broker", resultWarning}, plant: func(*testing.T, *world) []string {
			return []string{"--state-dir", w.path("state")}
		}},
	}
}
