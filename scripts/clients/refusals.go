package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// azure are the recipes that use an Azure SDK, one for each language.
func azure() []client {
	var all []client
	for _, c := range clients() {
		switch c.recipe {
		case "azidentity", "azure-identity", "graph-client":
			all = append(all, c)
		}
	}
	return all
}

// counter stands before the broker and counts what comes.
type counter struct {
	server   *httptest.Server
	requests atomic.Int32
}

func newCounter(broker string) (*counter, error) {
	target, err := url.Parse(broker)
	if err != nil {
		return nil, err
	}
	c := &counter{}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	c.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.requests.Add(1)
		pass.ServeHTTP(w, r)
	}))
	return c, nil
}

// refusals are what an Azure SDK makes of a no, and where it must not send a key.
func (s *suite) refusals(ctx context.Context) error {
	c, err := newCounter(s.world.url)
	if err != nil {
		return err
	}
	defer c.server.Close()
	for _, no := range []struct {
		name, consumer string
		rights         []string
		want           string // in the sentence that the client passes on
	}{
		{"sign-in needed", "late", []string{"--account", stranger, "--resource", "graph"}, "broker login"},
		{"refused by policy", "mail-only", []string{"--account", user, "--resource", "ews"}, "mail-only"},
	} {
		key, err := s.world.must(ctx, s.world.environ(), append([]string{s.world.broker, "consumers", "add", no.consumer}, no.rights...)...)
		if err != nil {
			return err
		}
		env := s.world.environ("IDENTITY_ENDPOINT="+c.server.URL+"/msi/token", "IDENTITY_HEADER="+key,
			"AZURE_TOKEN_CREDENTIALS=ManagedIdentityCredential", "NO_PROXY=127.0.0.1")
		for _, client := range azure() {
			argv, err := s.placed(ctx, client)
			if err != nil {
				return err
			}
			s.check(client.product, client.recipe, no.name+": one request, one sentence", func() error {
				return s.refused(ctx, c, env, argv, no.want)
			})
		}
	}
	s.check("broker exec", "sign-in needed", "exit code 3, not started", func() error { return s.notStarted(ctx) })
	s.check("curl", "EWS without a password", "asked for one (Basic)", func() error { return s.asked(ctx) })
	s.check("exchangelib", "broker ews report", "names its operations", func() error { return s.reported(ctx) })
	return s.trap(ctx)
}

// placed is the command of a client, its recipe as it stands.
func (s *suite) placed(ctx context.Context, c client) ([]string, error) {
	b, text, err := s.localized(c.recipe)
	if err == nil {
		text, err = swap(text, c.swaps...)
	}
	if err != nil {
		return nil, err
	}
	return s.world.place(ctx, b, strings.ReplaceAll(text, "GRAPH", s.world.sandbox.GraphURL()))
}

// refused runs a client that must end soon, after one request, and pass the
// broker's sentence on.
func (s *suite) refused(ctx context.Context, c *counter, env, argv []string, want string) error {
	c.requests.Store(0)
	started := time.Now()
	stdout, stderr, code, err := s.world.command(ctx, env, "", argv...)
	took := time.Since(started)
	switch n := c.requests.Load(); {
	case err != nil:
	case code == 0:
		err = errors.New("it succeeded")
	case n != 1:
		err = fmt.Errorf("%d requests, want 1", n)
	case took > 15*time.Second:
		err = fmt.Errorf("it took %.1f s", took.Seconds())
	case !strings.Contains(stdout+stderr, want):
		err = fmt.Errorf("no %q in what it says", want)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, stdout, stderr)
	}
	return nil
}

// notStarted runs a command under exec for somebody who has not signed in.
func (s *suite) notStarted(ctx context.Context) error {
	stdout, stderr, code, err := s.world.command(ctx, s.world.environ(), "",
		s.world.broker, "exec", "--account", stranger, "--resource", "graph", "--", "echo", "started")
	if err == nil && (code != 3 || stdout != "" || !strings.Contains(stderr, "broker login")) {
		err = fmt.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	return err
}

// asked looks for the challenge that clients wait for before they send a
// password, the EWS Managed API among them.
func (s *suite) asked(ctx context.Context) error {
	stdout, stderr, _, err := s.world.command(ctx, s.world.environ(), "",
		"curl", "-sS", "-D-", "-d", "<x/>", s.world.url+"/proxy/ews/EWS/Exchange.asmx")
	if err == nil && (!strings.Contains(stdout, "401") || !strings.Contains(strings.ToLower(stdout), "www-authenticate: basic")) {
		err = fmt.Errorf("%s%s", stdout, stderr)
	}
	return err
}

// reported looks for what the EWS clients have called.
func (s *suite) reported(ctx context.Context) error {
	report, err := s.world.must(ctx, s.world.environ(), s.world.broker, "ews", "report")
	if err == nil && (!strings.Contains(report, "FindItem") || !strings.Contains(report, "crm")) {
		err = fmt.Errorf("no FindItem of crm in\n%s", report)
	}
	return err
}
