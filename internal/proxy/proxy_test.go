package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// door is the API before a proxy, and a resource behind it, both on sockets.
type door struct {
	t        *testing.T
	proxy    *Proxy
	source   *source
	front    *httptest.Server
	upstream *httptest.Server
	client   *http.Client

	mu      sync.Mutex
	results []Result
	counted []string
	issued  []string
}

// newDoor makes both; change may alter the proxy's Config.
func newDoor(t *testing.T, resource http.HandlerFunc, change ...func(*Config)) *door {
	t.Helper()
	d := &door{t: t, source: &source{}}
	d.upstream = httptest.NewServer(resource)
	t.Cleanup(d.upstream.Close)
	way := straightOver((&net.Dialer{}).DialContext)
	way.rest.ExpectContinueTimeout, way.rest.MaxResponseHeaderBytes = expectTime, 64<<10
	t.Cleanup(way.CloseIdleConnections)
	cfg := Config{
		Tokens: newTokens(d.source), Transport: way, Username: func(account string) string { return account + "@contoso.example" },
		Bases:   map[string]string{"ews": d.upstream.URL, "graph": d.upstream.URL + "/base", "imap": ""},
		Issued:  func(_ *consumer.Identity, k token.Key, etag, id string) { d.note(&d.issued, k.Account+" "+etag+" "+id) },
		Counted: func(consumer, operation string) { d.note(&d.counted, consumer+" "+operation) },
		Done: func(_ context.Context, r Result) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.results = append(d.results, r)
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if d.proxy, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	d.front = httptest.NewServer(http.HandlerFunc(d.serve))
	t.Cleanup(d.front.Close)
	d.client = d.front.Client()
	d.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return d
}

// expectTime is longer than any test: nothing may hang on it.
const expectTime = 1 << 40

func (d *door) note(list *[]string, what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*list = append(*list, what)
}

// serve is what the API does with /proxy/.
func (d *door) serve(w http.ResponseWriter, r *http.Request) {
	w.Header()["Cache-Control"] = []string{"no-store"}
	w.Header()[headerRequestID] = []string{"0123"}
	raw, _, _ := strings.Cut(strings.TrimPrefix(r.RequestURI, prefix), "?")
	resource, _, _ := strings.Cut(raw, "/")
	u := *r.URL
	u.RawPath = raw[len(resource):]
	u.Path, _ = url.PathUnescape(u.RawPath)
	r.URL = &u
	if err := d.proxy.Forward(w, r, somebody(), token.Key{Resource: resource}); err != nil {
		w.Header().Set("X-Problem", token.KindOf(err).Code())
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, token.AsError(err).Detail)
	}
}

// ask sends a request; path begins with the resource.
func (d *door) ask(method, path string, body io.Reader, header ...string) *http.Response {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.front.URL+prefix+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// want checks an answer's status, and its body where text is not empty.
func (d *door) want(res *http.Response, status int, text string) {
	d.t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status || text != "" && !strings.Contains(string(b), text) {
		d.t.Fatalf("status %d, %.300q, %v; want %d, %q", res.StatusCode, b, err, status, text)
	}
}

// problem checks that the broker answers by itself.
func (d *door) problem(res *http.Response, kind token.Kind, text string) {
	d.t.Helper()
	if got := res.Header.Get("X-Problem"); got != kind.Code() {
		d.t.Errorf("problem %q, want %s", got, kind)
	}
	d.want(res, http.StatusBadGateway, text)
	if res.Header.Get(headerRequestID) == "" || res.Header.Get("Cache-Control") != "no-store" {
		d.t.Errorf("headers %v", res.Header)
	}
}

// The request that arrives has our token and nothing that was for us.
func TestRequest(t *testing.T) {
	got := make(chan *http.Request, 1)
	d := newDoor(t, func(_ http.ResponseWriter, r *http.Request) { got <- r })
	res := d.ask(http.MethodPut, "graph/a%2Fb?x=1;y=%zz", strings.NewReader("body"),
		"Authorization", "Basic a2V5", "X-Broker-Key", "brk_x", "X-Broker-Account", "ops", "X-Broker-Else", "x", "X-Identity-Header", "brk_x",
		"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Port", "1", "Forwarded", "for=x", "X-Real-Ip", "192.0.2.1", "Proxy-Authorization", "Basic x",
		"Connection", "X-Hop, Keep-Alive", "X-Hop", "1", "Keep-Alive", "timeout=5", "Te", "trailers, deflate",
		"Cookie", "X-BackEndCookie=1", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Accept-Encoding", "br, gzip", "Prefer", `outlook.timezone="UTC"`)
	d.want(res, http.StatusOK, "")
	r := <-got
	if want := "/base/a%2Fb?x=1;y=%zz"; r.RequestURI != want || r.Host != strings.TrimPrefix(d.upstream.URL, "http://") {
		t.Errorf("%s%s, want %s", r.Host, r.RequestURI, want)
	}
	h := r.Header.Clone()
	for name, want := range map[string]string{
		"Authorization": "Bearer CANARY-1", "Cookie": "X-BackEndCookie=1", "Accept-Encoding": "br, gzip", "Prefer": `outlook.timezone="UTC"`, "Te": "trailers",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "User-Agent": "Go-http-client/1.1", "Content-Length": "4",
	} {
		if !slices.Equal(h[name], []string{want}) {
			t.Errorf("%s: %q, want %q", name, h[name], want)
		}
		delete(h, name)
	}
	if len(h) > 0 {
		t.Errorf("more arrived: %v", h)
	}
	if len(d.issued) != 1 || !strings.HasPrefix(d.issued[0], "ops W/") || !strings.HasSuffix(d.issued[0], " 0123") {
		t.Errorf("issued: %q", d.issued)
	}
}

// A client that sends few headers sends as few through the proxy.
func TestRequestStaysBare(t *testing.T) {
	got := make(chan *http.Request, 1)
	d := newDoor(t, func(_ http.ResponseWriter, r *http.Request) { got <- r })
	conn, err := net.Dial("tcp", d.front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "GET /proxy/graph HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nUpgrade: h2c\r\n\r\n", d.front.Listener.Addr())
	if text, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 200") {
		t.Fatalf("%s, %v", text, err)
	}
	if r := <-got; len(r.Header) != 1 || r.Header.Get("Authorization") == "" || r.RequestURI != "/base" {
		t.Errorf("%s: %v", r.RequestURI, r.Header)
	}
}

func TestAnchorMailbox(t *testing.T) {
	got := make(chan string, 1)
	d := newDoor(t, func(_ http.ResponseWriter, r *http.Request) { got <- strings.Join(r.Header["X-Anchormailbox"], ",") })
	for _, c := range []struct{ path, sent, want string }{
		{"ews/EWS/Exchange.asmx", "", "ops@contoso.example"},
		{"ews/EWS/Exchange.asmx", "other@contoso.example", "other@contoso.example"},
		{"graph/v1.0/me", "", ""},
	} {
		var header []string
		if c.sent != "" {
			header = []string{"X-AnchorMailbox", c.sent}
		}
		d.want(d.ask(http.MethodPost, c.path, nil, header...), http.StatusOK, "")
		if v := <-got; v != c.want {
			t.Errorf("%s: %q, want %q", c.path, v, c.want)
		}
	}
}

// The answer arrives as it is, but for what speaks of the resource's address.
func TestAnswer(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = io.WriteString(z, "hello")
	_ = z.Close()
	d := newDoor(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if r.ProtoAtLeast(1, 1) {
			w.WriteHeader(http.StatusEarlyHints)
		}
		maps.Copy(h, http.Header{
			"Cache-Control": {"private"}, "X-Request-Id": {"theirs"}, "Request-Id": {"r"}, "Content-Encoding": {"gzip"}, "Content-Type": {"text/plain"},
			"Alt-Svc": {`h3=":443"`}, "Strict-Transport-Security": {"max-age=1"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}, "Trailer": {"X-Sum"}, "Date": {"Mon, 23 Nov 2026 00:00:00 GMT"},
			"Set-Cookie": {"a=1; Path=/; Domain=outlook.office365.com; Secure; HttpOnly", "b=2; path=/EWS; SameSite=None; secure", "c=3; Path=/../x", "d=4"},
		})
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(packed.Bytes())
		h.Set("X-Sum", "5")
		h.Set(http.TrailerPrefix+"X-Late", "6")
	})
	res := d.ask(http.MethodGet, "ews/x", nil, "Accept-Encoding", "gzip")
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusAccepted || !bytes.Equal(body, packed.Bytes()) {
		t.Errorf("status %d, %q, %v", res.StatusCode, body, err)
	}
	want := http.Header{
		"Cache-Control": {"no-store"}, "X-Request-Id": {"0123"}, "Request-Id": {"r"}, "Content-Encoding": {"gzip"}, "Content-Type": {"text/plain"},
		"Date":       {"Mon, 23 Nov 2026 00:00:00 GMT"},
		"Set-Cookie": {"a=1; HttpOnly; Path=/proxy/ews/", "b=2; SameSite=None; Path=/proxy/ews/EWS", "c=3; Path=/proxy/ews/", "d=4; Path=/proxy/ews/"},
	}
	if fmt.Sprint(res.Header) != fmt.Sprint(want) {
		t.Errorf("headers\n%v, want\n%v", res.Header, want)
	}
	if fmt.Sprint(res.Trailer) != fmt.Sprint(http.Header{"X-Sum": {"5"}, "X-Late": {"6"}}) {
		t.Errorf("trailers %v", res.Trailer)
	}
}

func TestLocation(t *testing.T) {
	var location string
	status := http.StatusFound
	d := newDoor(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	})
	host := strings.TrimPrefix(d.upstream.URL, "http://")
	ours := d.front.URL + "/proxy/graph"
	for in, want := range map[string]string{ // "": refused
		d.upstream.URL + "/base/x?y=1#z":                  ours + "/x?y=1#z",
		d.upstream.URL + "/base":                          ours + "/",
		"HTTP://" + strings.ToUpper(host) + "/base/a%2Fb": ours + "/a%2Fb",
		"/base/x":               ours + "/x",
		"y":                     ours + "/v1.0/y",
		"../z":                  ours + "/z",
		"//" + host + "/base/x": ours + "/x",

		"/basement":                        "",
		"/other":                           "",
		"../../../other":                   "",
		"/base/%2e%2e/x":                   "",
		"https://" + host + "/base/x":      "",
		"http://u@" + host + "/base/x":     "",
		"https://evil.example/base/x":      "",
		"//evil.example/base":              "",
		"http://" + host + ".evil.example": "",
		"javascript:alert(1)":              "",
		"http://[":                         "",
		"/base/..;/..\\x":                  "",
	} {
		location = in
		res := d.ask(http.MethodGet, "graph/v1.0/me", nil)
		if want == "" {
			d.problem(res, token.KindInvalid, "@microsoft.graph.downloadUrl")
			if res.Header.Get("Location") != "" {
				t.Errorf("%s: Location %s goes on", in, res.Header.Get("Location"))
			}
			continue
		}
		if got := res.Header.Get("Location"); res.StatusCode != http.StatusFound || got != want {
			t.Errorf("%s: %d %s, want %s", in, res.StatusCode, got, want)
		}
	}
	for _, status = range []int{300, 301, 303, 305, 307, 308, 399} {
		location = "https://evil.example/"
		d.problem(d.ask(http.MethodGet, "graph/v1.0/me", nil), token.KindInvalid, "evil.example")
	}
	location, status = "https://contoso.sharepoint.example/monitor/1", http.StatusAccepted // work that goes on elsewhere
	if res := d.ask(http.MethodPost, "graph/copy", nil); res.StatusCode != status || res.Header.Get("Location") != location {
		t.Errorf("%d %s", res.StatusCode, res.Header.Get("Location"))
	}
}

// Answers that are none, and those that must not be touched.
func TestAnswersOfTheResource(t *testing.T) {
	d := newDoor(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/blocked":
			w.Header().Set("X-EWS-Policy-Reason", "EWS is blocked by policy for this user or tenant")
			w.WriteHeader(http.StatusForbidden)
		case "/forbidden":
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "theirs")
		case "/throttled":
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, "slow down")
		case "/unavailable":
			w.Header().Set("Retry-After", "18")
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/407":
			w.Header().Set("Proxy-Authenticate", "Negotiate")
			w.WriteHeader(http.StatusProxyAuthRequired)
		case "/broken":
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "CANARY no HTTP at all\r\n\r\n")
			_ = conn.Close()
		case "/101":
			conn, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_ = conn.Close()
		}
	})
	res := d.ask(http.MethodPost, "ews/blocked", nil)
	d.problem(res, token.KindPolicyBlocked, "Your token is fine, your tenant blocks Exchange Web Services")
	for _, text := range []string{"-EwsEnabled $true", "-EwsAllowedAppIDs", "1 October 2026", "1 April 2027", "broker ews report"} {
		if !strings.Contains(ewsBlocked, text) {
			t.Errorf("%q is not in the sentence", text)
		}
	}
	d.want(d.ask(http.MethodGet, "ews/forbidden", nil), http.StatusForbidden, "theirs")
	res = d.ask(http.MethodGet, "ews/throttled", nil)
	d.want(res, http.StatusTooManyRequests, "slow down")
	if got := res.Header.Get("Retry-After"); got != "17" {
		t.Errorf("Retry-After %q", got)
	}
	res = d.ask(http.MethodGet, "ews/unavailable", nil)
	d.want(res, http.StatusServiceUnavailable, "")
	if got := res.Header.Get("Retry-After"); got != "18" {
		t.Errorf("Retry-After %q", got)
	}
	d.problem(d.ask(http.MethodGet, "ews/407", nil), token.KindUnavailable, "proxy_url")
	d.problem(d.ask(http.MethodGet, "ews/broken", nil), token.KindUnavailable, "broke")
	d.problem(d.ask(http.MethodGet, "ews/101", nil), token.KindUnavailable, "no answer")
	d.upstream.Close()
	d.problem(d.ask(http.MethodGet, "ews/x?secret=1", nil), token.KindUnavailable, "cannot be connected to")
	for _, r := range d.results {
		if r.Err != nil && (strings.Contains(r.Err.Error(), "CANARY") || strings.Contains(r.Err.Error(), "secret")) {
			t.Errorf("an error holds what it must not: %v", r.Err)
		}
	}
}

// What is refused before the resource is asked.
func TestRefused(t *testing.T) {
	d := newDoor(t, func(http.ResponseWriter, *http.Request) { t.Error("the resource was asked") })
	for _, c := range []struct {
		method, path string
		kind         token.Kind
		header       []string
	}{
		{http.MethodTrace, "graph/x", token.KindInvalidRequest, nil},
		{"TRACK", "graph/x", token.KindInvalidRequest, nil},
		{http.MethodGet, "graph/x", token.KindInvalidRequest, []string{"Connection", "Upgrade", "Upgrade", "websocket"}},
		{http.MethodGet, "graph/%2e%2e/x", token.KindInvalidRequest, nil},
		{http.MethodGet, "nosuch/x", token.KindUnknownResource, nil},
		{http.MethodGet, "imap/x", token.KindUnsupported, nil},
	} {
		d.problem(d.ask(c.method, c.path, nil, c.header...), c.kind, "")
	}
	d.source.fail(token.NewError(token.KindSignInRequired, "", "Run broker login."))
	d.problem(d.ask(http.MethodGet, "ews/x", nil), token.KindSignInRequired, "Run broker login.")
	if len(d.results) != 7 || d.results[4].Resource != "" || d.results[5].Resource != "imap" || d.results[6].Err == nil {
		t.Errorf("results %+v", d.results)
	}
}

func TestOperationsAreCounted(t *testing.T) {
	d := newDoor(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	for _, c := range []struct{ method, path, action, body, want string }{
		{http.MethodPost, "ews/EWS/Exchange.asmx", "", findItem, "crm FindItem"},
		{http.MethodPost, "ews/EWS/Exchange.asmx", "http://schemas.microsoft.com/exchange/services/2006/messages/GetItem", findItem, "crm GetItem"},
		{http.MethodPost, "ews/EWS/Exchange.asmx", "", findItem + strings.Repeat(" ", 2<<20), "crm FindItem"},
		{http.MethodPost, "ews/EWS/Exchange.asmx", "", "no XML", "crm "},
		{http.MethodPost, "graph/x", "", findItem, ""},
		{http.MethodGet, "ews/EWS/Services.wsdl", "", "", ""},
	} {
		d.counted = nil
		d.want(d.ask(c.method, c.path, strings.NewReader(c.body), "SOAPAction", c.action), http.StatusOK, "")
		if got := strings.Join(d.counted, ","); got != c.want {
			t.Errorf("counted %q, want %q", got, c.want)
		}
	}
}

// Both directions flow at the same time, chunk by chunk.
func TestStreaming(t *testing.T) {
	d := newDoor(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_ = rc.Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			_, _ = fmt.Fprintf(w, "echo %s\n", lines.Text())
			_ = rc.Flush()
		}
	})
	body, caller := io.Pipe()
	res := d.ask(http.MethodPost, "ews/stream", body)
	answers := bufio.NewScanner(res.Body)
	for i := range 100 {
		_, _ = fmt.Fprintf(caller, "line %d\n", i)
		if want := fmt.Sprintf("echo line %d", i); !answers.Scan() || answers.Text() != want {
			t.Fatalf("%q, want %q", answers.Text(), want)
		}
	}
	_ = caller.Close()
	if answers.Scan() || answers.Err() != nil {
		t.Errorf("it goes on: %q, %v", answers.Text(), answers.Err())
	}
}

// Who goes away takes the request at the resource along; so does a resource that
// breaks off, and the caller sees that the answer is not whole.
func TestBreaks(t *testing.T) {
	gone := make(chan struct{})
	d := newDoor(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begin")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/cut" {
			panic(http.ErrAbortHandler)
		}
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.front.URL+"/proxy/ews/wait", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-gone
	_ = res.Body.Close()
	res = d.ask(http.MethodGet, "ews/cut", nil)
	if b, err := io.ReadAll(res.Body); string(b) != "begin" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%q, %v", b, err)
	}
}

// An answer that comes before the request's body has ended reaches the caller.
func TestEarlyAnswer(t *testing.T) {
	d := newDoor(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex() // else net/http waits for the body first
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		_, _ = io.WriteString(w, "too much")
	})
	body, caller := io.Pipe()
	defer caller.Close()
	go func() { _, _ = io.WriteString(caller, "first") }()
	d.want(d.ask(http.MethodPost, "ews/x", body), http.StatusRequestEntityTooLarge, "too much")
}
