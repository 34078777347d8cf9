package httpapi

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestEWSUsage(t *testing.T) {
	since := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var usage EWSUsage
	var failed error
	resets := 0
	s := newStack(t, func(c *Config) {
		c.EWSUsage = func() EWSUsage { return usage }
		c.EWSReset = func() error { resets++; return failed }
	})
	usage.SinceAt = since
	golden(t, "ews-none", s.do(call{path: "/v1/ews", key: s.admin}))
	usage.Consumers = []EWSConsumer{{Consumer: "crm", Calls: 1204, LastAt: since.Add(time.Hour), Operations: []EWSOperation{
		{Operation: "FindItem", Calls: 1200, LastAt: since.Add(time.Hour), Graph: "GET /me/mailFolders/{id}/messages", Permission: "Mail.Read", Note: "Bodies too."},
		{Operation: "other", Calls: 4, LastAt: since, Note: "Not known."},
	}}}
	golden(t, "ews", s.do(call{path: "/v1/ews", key: s.admin}))

	if res := s.do(call{method: "DELETE", path: "/v1/ews", key: s.admin}); res.StatusCode != http.StatusNoContent || resets != 1 {
		t.Errorf("status %d, %d resets", res.StatusCode, resets)
	}
	for _, method := range []string{"GET", "DELETE"} {
		want[Problem](s, s.do(call{method: method, path: "/v1/ews", key: s.crm}), 403)
	}
	failed = errors.New("disk full")
	if p := want[Problem](s, s.do(call{method: "DELETE", path: "/v1/ews", key: s.admin}), 500); !strings.HasPrefix(p.Detail, "Counting has begun anew") || strings.Contains(p.Detail, "disk") {
		t.Errorf("detail %q", p.Detail)
	}
	if resets != 2 || !strings.Contains(s.log.String(), "disk full") {
		t.Errorf("%d resets, logged %s", resets, s.log)
	}
}

// Without a proxy nothing is counted, and nothing is there to forget.
func TestEWSUsageWithoutProxy(t *testing.T) {
	s := newStack(t)
	if got := want[EWSUsage](s, s.do(call{path: "/v1/ews", key: s.admin}), 200); got.EndsOn != "2027-04-01" || len(got.Consumers) > 0 {
		t.Errorf("%+v", got)
	}
	if res := s.do(call{method: "DELETE", path: "/v1/ews", key: s.admin}); res.StatusCode != http.StatusNoContent {
		t.Errorf("status %d", res.StatusCode)
	}
}
