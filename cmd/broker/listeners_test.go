package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// wayIn is a way into a broker besides TCP, as this system has it.
type wayIn struct {
	yaml string // the setting
	name string
	anew func() // the broker has ended
	dial func(ctx context.Context) (net.Conn, error)
}

// over sends the world's calls on another way.
func (w *world) over(dial func(ctx context.Context) (net.Conn, error)) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	w.t.Cleanup(transport.CloseIdleConnections)
	w.client, w.base = &http.Client{Transport: transport}, "http://localhost"
}

// add makes a consumer, and gives its key.
func (w *world) add(r httpapi.ConsumerRequest) string {
	w.t.Helper()
	r.Resources = []string{"graph"}
	r.Accounts = []string{alice}
	body, err := json.Marshal(r)
	if err != nil {
		w.t.Fatal(err)
	}
	var made httpapi.ConsumerKey
	w.call(w.admin, http.MethodPost, "/v1/consumers", string(body)).into(&made)
	return made.Key
}

// TestTheSameAPIOnEveryWay: whatever way a program comes, it gets the same answers,
// and has to be the one that its key was made for.
func TestTheSameAPIOnEveryWay(t *testing.T) {
	way := newWayIn(t)
	w := newWorld(t, worldOptions{yaml: way.yaml})
	w.signIn(alice)
	self, me, digest := ourselves(t)
	keys := map[string]string{
		"free":          w.add(httpapi.ConsumerRequest{Name: "free"}),
		"program":       w.add(httpapi.ConsumerRequest{Name: "program", Executable: self, Sha256: digest, User: me}),
		"other-program": w.add(httpapi.ConsumerRequest{Name: "other-program", Executable: filepath.Join(filepath.Dir(self), "other.exe")}),
		"other-version": w.add(httpapi.ConsumerRequest{Name: "other-version", Executable: self, Sha256: strings.Repeat("0", 64)}),
	}
	w.add(httpapi.ConsumerRequest{Name: "ours", LeaseSeconds: 600, Process: os.Getpid()})
	tcp := strings.TrimPrefix(w.base, "http://")
	for name, dial := range map[string]func(ctx context.Context) (net.Conn, error){
		"TCP": func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", tcp)
		},
		"beside TCP": way.dial,
	} {
		w.over(dial)
		if name == "TCP" {
			w.base = "http://" + tcp
		}
		for consumer, want := range map[string]int{"free": 200, "program": 200, "other-program": 403, "other-version": 403} {
			for range 2 { // the second time over the same connection
				a := w.call(keys[consumer], http.MethodGet, "/v1/token?resource=graph", "")
				if a.status != want || (want == 403 && a.problem().Code != "wrong-process") {
					t.Errorf("%s: %s got %d: %.200s", name, consumer, a.status, a.body)
				}
			}
		}
		if a := w.call("brk_no", http.MethodGet, "/v1/token?resource=graph", ""); a.status != 401 {
			t.Errorf("%s: a wrong key got %d", name, a.status)
		}
		if a := w.call("", http.MethodGet, "/AuthorizationHeaderUnauthenticated/graph", ""); a.status != 200 {
			t.Errorf("%s: our own process got %d without a key: %s", name, a.status, a.body)
		}
		if a := w.call(keys["free"], http.MethodGet, "/v1/token?resource=graph", "", "Origin: http://localhost"); a.status != 403 {
			t.Errorf("%s: a web page got %d", name, a.status)
		}
		var s httpapi.Status
		w.call(w.admin, http.MethodGet, "/v1/status", "").into(&s)
		if !slices.Equal(s.Listen, []string{tcp, way.name}) {
			t.Errorf("%s: listens on %q", name, s.Listen)
		}
	}
	log, err := json.Marshal(way.name)
	if err != nil || !strings.Contains(w.log.String(), string(log)) {
		t.Errorf("the log does not name %s:\n%s", log, w.log)
	}
	// The name is free again after a good end.
	w.stop()
	way.anew()
	w.start()
	w.over(way.dial)
	if a := w.call(w.admin, http.MethodGet, "/v1/status", ""); a.status != 200 {
		t.Errorf("after a restart: %d", a.status)
	}
}

// ourselves is what the system says of this process.
func ourselves(t *testing.T) (program, account, digest string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return self, u.Uid, hex.EncodeToString(sum[:])
}

// TestAWayThatCannotBeOpened names the setting, and leaves nothing behind.
func TestAWayThatCannotBeOpened(t *testing.T) {
	for yaml, want := range unopenable(t) {
		w := &world{t: t}
		w.settleFor(yaml)
		code, _, stderr := w.run("serve", "--key-in-file")
		if code != exitFailed || !strings.Contains(stderr, want) {
			t.Errorf("%s: code %d, %s", yaml, code, stderr)
		}
	}
}

// settleFor writes a configuration that needs no sandbox, as it is not used.
func (w *world) settleFor(yaml string) {
	w.t.Helper()
	w.dir, w.log = w.t.TempDir(), &lockedText{}
	for _, dir := range []string{"conf", "state"} {
		if err := os.Mkdir(filepath.Join(w.dir, dir), 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	w.write("conf/broker.yaml", fmt.Sprintf("listen: 127.0.0.1:0\nstore: file\ntenant: %s\nclient_id: %s\n%s",
		"11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000", yaml))
}

func TestAsURLs(t *testing.T) {
	if got := asURLs([]string{"127.0.0.1:8477", "/run/b.sock", `\\.\pipe\b`}); got != `http://127.0.0.1:8477, /run/b.sock, \\.\pipe\b` {
		t.Error(got)
	}
}
