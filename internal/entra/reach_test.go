package entra

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Any answer will do, whatever its status; its Date is the host's time.
func TestReach(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var asked []string
	srv, _, ca := tlsAuthority(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization"))
		w.Header().Set("Date", noon.Format(http.TimeFormat))
		if len(asked) > 1 {
			w.Header().Set("Date", "yesterday")
		}
		http.Error(w, "nothing here", http.StatusNotFound)
	}))
	roots, err := Roots(ca)
	if err != nil {
		t.Fatal(err)
	}
	c := New(Config{Roots: roots})
	defer c.Close()
	if on, err := c.Reach(t.Context(), srv.URL); err != nil || !on.Equal(noon) {
		t.Errorf("the host's time is %v, %v", on, err)
	}
	if on, err := c.Reach(t.Context(), srv.URL); err != nil || !on.IsZero() {
		t.Errorf("without a time: %v, %v", on, err)
	}
	if got := strings.Join(asked, ", "); got != "HEAD / , HEAD / " {
		t.Errorf("asked %q", got)
	}
}

// What is in the way is said in a sentence.
func TestReachNobody(t *testing.T) {
	srv, _, _ := tlsAuthority(t, http.NotFoundHandler())
	gone, _, _ := tlsAuthority(t, http.NotFoundHandler())
	gone.Close()
	for base, want := range map[string]string{srv.URL: "which this machine does not trust", gone.URL: "cannot be connected to"} {
		c := New(Config{Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }})
		_, err := c.Reach(t.Context(), base)
		if e := token.AsError(err); !strings.Contains(e.Detail, want) || !strings.HasPrefix(e.Op, "reach 127.0.0.1:") {
			t.Errorf("%s: %q, of %s", base, e.Detail, e.Op)
		}
		c.Close()
	}
	c := New(Config{})
	defer c.Close()
	if _, err := c.Reach(t.Context(), "https://host with a blank"); err == nil {
		t.Error("no error for what is no address")
	}
}
