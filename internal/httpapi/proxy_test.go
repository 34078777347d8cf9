package httpapi

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakeProxy keeps what it was asked to send on.
type fakeProxy struct {
	url *url.URL
	id  *consumer.Identity
	to  token.Key
	err error
}

func (f *fakeProxy) Forward(w http.ResponseWriter, r *http.Request, id *consumer.Identity, to token.Key) error {
	f.url, f.id, f.to = r.URL, id, to
	if f.err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return f.err
}

func newProxyStack(t *testing.T) (*stack, *fakeProxy) {
	t.Helper()
	f := &fakeProxy{}
	return newStack(t, func(c *Config) { c.Proxy = f }), f
}

func basic(user, password string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}}
}

// Who is calling, and which account they mean.
func TestProxyCredentials(t *testing.T) {
	s, f := newProxyStack(t)
	with := func(h http.Header, more ...string) http.Header {
		h = h.Clone()
		for i := 0; i < len(more); i += 2 {
			h[more[i]] = append(h[more[i]], more[i+1])
		}
		return h
	}
	for name, c := range map[string]struct {
		header  http.Header
		account string
		status  int
	}{
		"bearer":                           {http.Header{"Authorization": {"Bearer " + s.crm}}, "", 204},
		"X-Broker-Key":                     {http.Header{"X-Broker-Key": {s.crm}}, "", 204},
		"with an account":                  {http.Header{"X-Broker-Key": {s.crm}, "X-Broker-Account": {"ops"}}, "ops", 204},
		"Basic, consumer":                  {basic("crm", s.crm), "", 204},
		"Basic, nobody":                    {basic("", s.crm), "", 204},
		"Basic, account's alias":           {basic("ops", s.crm), "ops", 204},
		"Basic, user name":                 {basic("ops@contoso.com", s.crm), "ops@contoso.com", 204},
		"Basic, user name, and account":    {with(basic("ops@contoso.com", s.crm), "X-Broker-Account", "OPS@contoso.com"), "OPS@contoso.com", 204},
		"Basic, consumer, and account":     {with(basic("crm", s.crm), "X-Broker-Account", "ops"), "ops", 204},
		"Basic, two accounts":              {with(basic("ops@contoso.com", s.crm), "X-Broker-Account", "ops"), "", 400},
		"Basic, administrator":             {basic("someone", s.admin), "someone", 204},
		"two accounts":                     {http.Header{"X-Broker-Key": {s.crm}, "X-Broker-Account": {"ops", "ops"}}, "", 400},
		"two keys":                         {http.Header{"X-Broker-Key": {s.crm, s.crm}}, "", 400},
		"a client that insists on a token": {http.Header{"Authorization": {"Bearer something"}, "X-Broker-Key": {s.crm}}, "", 204},
		"a token and a wrong key":          {http.Header{"Authorization": {"Bearer " + s.crm}, "X-Broker-Key": {"x"}}, "", 401},
		"Basic twice":                      {with(basic("crm", s.crm), "Authorization", "Basic eDp4"), "", 400},
		"Basic, another user":              {basic("CONTOSO\\ops", s.crm), "", 401},
		"Basic, wrong key":                 {basic("crm", consumer.NewKey().Reveal()), "", 401},
		"Basic, no base64":                 {http.Header{"Authorization": {"Basic %"}}, "", 401},
		"Digest":                           {http.Header{"Authorization": {"Digest x"}}, "", 401},
		"nothing":                          {http.Header{}, "", 401},
		"the agent":                        {http.Header{"X-Broker-Key": {s.agent}}, "", 403},
	} {
		t.Run(name, func(t *testing.T) {
			*f = fakeProxy{}
			res := s.do(call{method: http.MethodPost, path: "/proxy/ews/EWS/Exchange.asmx", header: c.header})
			if res.StatusCode != c.status || f.to.Account != c.account {
				t.Fatalf("status %d for account %q, want %d for %q: %s", res.StatusCode, f.to.Account, c.status, c.account, read(t, res))
			}
			asked := res.Header["Www-Authenticate"]
			if want := c.status == http.StatusUnauthorized; want != (len(asked) == 2 && asked[0] == `Basic realm="M365 Token Broker", charset="UTF-8"` && asked[1] == "Bearer") {
				t.Errorf("WWW-Authenticate is %q", asked)
			}
			if c.status == http.StatusNoContent && (f.to.Resource != "ews" || f.url.RawPath != "/EWS/Exchange.asmx" || f.id == nil) {
				t.Errorf("sent on: %+v of %s", f.to, f.url)
			}
		})
	}
	for _, key := range []string{s.crm, s.admin, s.agent} {
		if strings.Contains(s.log.String(), key) {
			t.Error("a key stands in the log")
		}
	}
}

// The path is handed on as it came, and nothing but the proxy's paths is.
func TestProxyTargets(t *testing.T) {
	s, f := newProxyStack(t)
	for target, want := range map[string]string{
		"/proxy/graph":    "graph  ",
		"/proxy/graph/":   "graph / ",
		"/proxy/graph/a?": "graph /a ",
		"/proxy/graph/a%2Fb/c%20d|e?$filter=a%20eq%20'b'&x=;": "graph /a%2Fb/c%20d|e $filter=a%20eq%20'b'&x=;",
		"/proxy/graph/.config/root:/%C3%BC.txt:/content":      "graph /.config/root:/%C3%BC.txt:/content ",
		"/proxy/graph/100%25":                                 "graph /100%25 ",
	} {
		*f = fakeProxy{}
		res := s.do(call{path: "/proxy/x", key: s.crm, change: func(r *http.Request) {
			u, err := url.ParseRequestURI(target)
			if err != nil {
				t.Fatal(err)
			}
			r.URL, r.RequestURI = u, target
		}})
		if res.StatusCode != http.StatusNoContent {
			t.Errorf("%s: status %d: %s", target, res.StatusCode, read(t, res))
			continue
		}
		if got := f.to.Resource + " " + f.url.RawPath + " " + f.url.RawQuery; got != want {
			t.Errorf("%s: sent on as %q, want %q", target, got, want)
		}
	}
}

// A fault of the resource does not speak of Entra ID, one of the token does.
func TestProxyFaults(t *testing.T) {
	s, f := newProxyStack(t)
	for op, title := range map[string]string{"proxy": "The resource cannot be reached", "redeem": "Microsoft Entra ID cannot be reached"} {
		f.err = token.NewError(token.KindUnavailable, op, "Try again later.")
		p := s.problem(s.do(call{path: "/proxy/graph/v1.0/me", key: s.crm}), http.StatusServiceUnavailable, token.KindUnavailable)
		if p.Title != title {
			t.Errorf("title %q", p.Title)
		}
	}
	s = newStack(t)
	s.problem(s.do(call{path: "/proxy/graph/v1.0/me", key: s.crm}), http.StatusNotFound, token.KindNotFound)
}
