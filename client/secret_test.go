package client_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/client"
)

// Neither a token nor a key can be printed by accident.
func TestNothingPrintsASecret(t *testing.T) {
	b := &broker{}
	c := b.client(t)
	tok, err := c.Token(t.Context(), client.Request{Resource: "graph"})
	if err != nil {
		t.Fatal(err)
	}
	o := client.Options{URL: "http://127.0.0.1:8477", Key: key}
	holder := struct{ hidden client.Token }{tok}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{tok, &tok, holder, c, *&o, &o, []client.Token{tok}} { //nolint:staticcheck // as callers write it
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "token", tok, "options", o, "holder", holder)
	}
	raw, err := json.Marshal(tok)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(raw)
	if strings.Contains(out.String(), "CANARY") || strings.Contains(out.String(), "43414e415259") {
		t.Errorf("printed:\n%s", out.String())
	}
	if (client.Token{}).AccessToken() != "" {
		t.Error("the zero token holds something")
	}
}

func TestNew(t *testing.T) {
	for _, raw := range []string{"", "127.0.0.1:8477", "https://127.0.0.1:8477", "http://example.com", "http://192.0.2.1:8477", "http://0.0.0.0:8477", "http://user:x@127.0.0.1", "http://127.0.0.1:8477?x=1", "http://127.0.0.1:8477#x", "http://localhost.evil.example", "://"} {
		if _, err := client.New(client.Options{URL: raw, Key: key}); err == nil {
			t.Errorf("%q is taken", raw)
		}
	}
	for _, raw := range []string{"http://127.0.0.1:8477", "http://localhost:8477/", "http://[::1]:8477", "http://LOCALHOST:1"} {
		if _, err := client.New(client.Options{URL: raw, Key: key}); err != nil {
			t.Errorf("%q: %v", raw, err)
		}
	}
	for _, k := range []string{"", "  ", "brk_a b", "brk_a\nb", "brk_ü"} {
		if _, err := client.New(client.Options{URL: "http://127.0.0.1:8477", Key: k}); err == nil {
			t.Errorf("key %q is taken", k)
		}
	}
}

func TestFromEnvironment(t *testing.T) {
	t.Setenv(client.EnvURL, "")
	t.Setenv(client.EnvKey, key)
	if _, err := client.FromEnvironment(); err == nil || !strings.Contains(err.Error(), "BROKER_URL") || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("error %v", err)
	}
	t.Setenv(client.EnvURL, "http://127.0.0.1:8477")
	if _, err := client.FromEnvironment(); err != nil {
		t.Error(err)
	}
}

// The client of its own goes through no proxy and follows no redirect, so that the
// key stays here.
func TestTheKeyStaysHere(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer srv.Close()
	c, err := client.New(client.Options{URL: srv.URL, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Token(t.Context(), client.Request{Resource: "graph"}); err == nil || !strings.Contains(err.Error(), "307") || asked != 1 {
		t.Errorf("error %v after %d requests", err, asked)
	}
}
