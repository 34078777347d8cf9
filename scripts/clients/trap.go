package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// proxyTrap is an HTTP proxy that passes nothing on and counts what it is given.
type proxyTrap struct {
	server         *httptest.Server
	requests, keys atomic.Int32
}

func newProxyTrap() *proxyTrap {
	t := &proxyTrap{}
	t.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.requests.Add(1)
		if strings.HasPrefix(r.Header.Get("X-Identity-Header"), "brk_") {
			t.keys.Add(1)
		}
		w.WriteHeader(http.StatusBadRequest)
	}))
	t.server.Config.ReadHeaderTimeout = 10 * time.Second
	t.server.Start()
	return t
}

// environ is the proxy as people set it.
func (t *proxyTrap) environ() []string {
	url := t.server.URL
	return []string{"HTTP_PROXY=" + url, "HTTPS_PROXY=" + url, "http_proxy=" + url, "https_proxy=" + url}
}

// trap sets HTTP_PROXY, to which Node.js sends the key of its own accord, and
// looks that under exec nothing goes there.
func (s *suite) trap(ctx context.Context) error {
	t := newProxyTrap()
	defer t.server.Close()
	for _, c := range azure() {
		argv, err := s.placed(ctx, c)
		if err != nil {
			return err
		}
		s.check(c.product, c.recipe, "broker exec: nothing to HTTP_PROXY", func() error {
			t.requests.Store(0)
			err := s.runs(ctx, c, s.world.environ(t.environ()...), s.exec(filepath.Join(s.world.dir, "run", "key"), argv))
			if n := t.requests.Load(); n > 0 {
				err = errors.Join(err, fmt.Errorf("%d requests went to the proxy", n))
			}
			return err
		})
		if c.recipe == "graph-client" {
			s.check(c.product, c.recipe, "the trap works: without NO_PROXY the key is there", func() error { return s.trapped(ctx, t, argv) })
		}
	}
	return nil
}

// trapped runs a client as the page warns not to.
func (s *suite) trapped(ctx context.Context, t *proxyTrap, argv []string) error {
	unprotected := slices.DeleteFunc(slices.Clone(s.vars), func(pair string) bool { return strings.HasPrefix(pair, "NO_PROXY=") })
	_, stderr, code, err := s.world.command(ctx, s.world.environ(append(unprotected, t.environ()...)...), "", argv...)
	if err == nil && (code == 0 || t.keys.Load() == 0) {
		err = fmt.Errorf("exit code %d, %d keys at the proxy\n%s", code, t.keys.Load(), stderr)
	}
	return err
}
