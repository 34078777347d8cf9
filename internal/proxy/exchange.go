package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

const (
	headerRequestID = "X-Request-Id"
	headerAnchor    = "X-Anchormailbox" // as net/http writes it
	opProxy         = "proxy"           // token.Error.Op of what the resource is at fault for
)

// exchange is one request on its way. It is the transport of its own
// httputil.ReverseProxy, which keeps the rules of a proxy (hop-by-hop header
// fields, trailers, 1xx answers), while the exchange puts the token in.
type exchange struct {
	p         *Proxy
	w         http.ResponseWriter
	id        *consumer.Identity
	began     time.Time
	requestID string
	host      string // that the caller knows us by; the gate has looked at it

	base   base
	target *url.URL
	key    token.Key    // canonical names
	answer cache.Answer // the token that is sent
	body   *stream      // nil: the request has none
	watch  *watch
	rp     httputil.ReverseProxy
	op     string // SOAPAction, for the count of operations

	resource string // for telemetry; "" until it is known to be configured
	status   int
	took     time.Duration
	err      error
}

// prepare finds where the request goes and the token that it goes with.
func (x *exchange) prepare(r *http.Request, to token.Key) (err error) {
	if err := checkMethod(r); err != nil {
		return err
	}
	// The policy decides before anything is said about the resource.
	if x.answer, err = x.p.cfg.Tokens.Token(r.Context(), x.id, token.Request{Key: to}); err != nil {
		return err
	}
	x.key = x.answer.Entry.Key()
	x.resource = x.key.Resource
	b, ok := (*x.p.bases.Load())[x.key.Resource]
	if !ok {
		return token.NewError(token.KindUnsupported, "find resource", "This resource has no base_url, so requests cannot be sent to it; ask GET /v1/token for its token, or set its base_url in broker.yaml.")
	}
	x.base = b
	x.target, err = b.target(r.URL)
	return err
}

// checkMethod refuses what would give the token back to the caller (TRACE answers
// with the request's own header), and what is no longer HTTP.
func checkMethod(r *http.Request) error {
	switch r.Method {
	case http.MethodConnect, http.MethodTrace, "TRACK":
		return token.NewError(token.KindInvalidRequest, "check request", "The proxy does not pass on CONNECT and TRACE; send GET, POST or another method of the resource.")
	}
	for _, v := range r.Header["Upgrade"] {
		if !strings.EqualFold(strings.TrimSpace(v), "h2c") { // an offer of HTTP/2, which may be passed over (RFC 9110 section 7.8)
			return token.NewError(token.KindInvalidRequest, "check request", "The proxy passes on HTTP only, no WebSocket or other protocol; remove the Upgrade header.")
		}
	}
	return nil
}

// forward sends the request on and the answer back.
func (x *exchange) forward(r *http.Request) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x.watch = x.p.watches.begin(x.w, func() { cancel(errIdle) })
	defer x.watch.stop()
	if r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody {
		x.watch.fullDuplex()
		x.body = newStream(r.Body, x.watch.touch)
		defer x.endBody()
	}
	x.issued()
	if x.base.ews {
		x.op = operationOf(r.Header)
	}
	var failed error
	x.rp = httputil.ReverseProxy{
		Rewrite: x.rewrite, Transport: x, ModifyResponse: x.modify, BufferPool: &x.p.buffers,
		ErrorLog:     x.p.silent, // its errors come to us as well
		ErrorHandler: func(_ http.ResponseWriter, _ *http.Request, err error) { failed = x.fault(ctx, err) },
	}
	x.rp.ServeHTTP(x.w, r.WithContext(ctx))
	if failed != nil {
		x.restore(x.w.Header())
		return failed
	}
	x.watch.flush()
	return nil
}

// endBody takes the body away from the transport. Where the caller still has some
// of it to send, it may do so for a moment: net/http reads on a little, so that
// the caller sees the answer.
func (x *exchange) endBody() {
	if !x.body.end() {
		x.watch.hurry()
	}
}

// rewrite makes the request for the resource.
func (x *exchange) rewrite(pr *httputil.ProxyRequest) {
	out := pr.Out
	out.URL, out.Host = x.target, x.base.host
	if _, ok := pr.In.Header["Upgrade"]; ok { // h2c
		delete(out.Header, "Upgrade")
		delete(out.Header, "Connection")
		delete(out.Header, "Http2-Settings")
	}
	stripCredentials(out.Header)
	if x.base.ews && len(out.Header[headerAnchor]) == 0 && x.p.cfg.Username != nil {
		if name := x.p.cfg.Username(x.key.Account); name != "" {
			out.Header[headerAnchor] = []string{name}
		}
	}
	x.authorize(out)
	if x.body != nil && out.Body != nil {
		out.Body, out.GetBody = x.body.first(), x.body.open
		out.Trailer = pr.In.Trailer // filled while the body is read
	}
}

// stripCredentials takes out what is for the broker, or says where a request came
// from.
func stripCredentials(h http.Header) {
	delete(h, "Authorization")
	delete(h, "X-Identity-Header") // a key, in the managed identity's protocol
	delete(h, "X-Real-Ip")
	for name := range h {
		if strings.HasPrefix(name, "X-Broker-") || strings.HasPrefix(name, "X-Forwarded-") {
			delete(h, name)
		}
	}
}

// authorize puts the token in.
func (x *exchange) authorize(r *http.Request) {
	r.Header["Authorization"] = []string{x.answer.Entry.Authorization().Reveal()}
}

func (x *exchange) issued() {
	if x.p.cfg.Issued != nil {
		x.p.cfg.Issued(x.id, x.key, x.answer.Entry.ETag(), x.requestID)
	}
}

// RoundTrip implements http.RoundTripper: it sends the request, and once more
// where the resource refused the token and another one can be had.
func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := x.p.cfg.Transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	x.count(r.Method)
	if res.StatusCode != http.StatusUnauthorized {
		return res, nil
	}
	renewed, err := x.renew(r.Context(), res)
	if err == nil && !renewed {
		return res, nil
	}
	discard(res)
	if err != nil {
		return nil, err
	}
	again := r.Clone(r.Context())
	if x.body != nil {
		if again.Body, err = x.body.open(); err != nil {
			return nil, sendAgain()
		}
	}
	x.authorize(again)
	return x.p.cfg.Transport.RoundTrip(again)
}

// minAge is how old a token must be to be renewed because a resource refused it
// without saying why: it may have been revoked. A younger one would not fare
// better.
const minAge = time.Minute

// renew gets another token after a 401. It reports whether there is one; the
// resource's answer is then spent. A claims challenge is redeemed in any case, so
// that also a request that cannot be repeated helps the next one.
func (x *exchange) renew(ctx context.Context, res *http.Response) (bool, error) {
	if claims := claimsOf(res.Header["Www-Authenticate"]); claims != "" {
		answer, err := x.p.cfg.Tokens.Token(ctx, x.id, token.Request{Key: x.key, Claims: claims})
		if err != nil {
			return false, err
		}
		return x.take(answer), nil
	}
	if time.Since(x.answer.Entry.Token().ObtainedOn) < minAge || !x.body.repeatable() {
		return false, nil
	}
	// Another request may have renewed it already.
	answer, err := x.p.cfg.Tokens.Token(ctx, x.id, token.Request{Key: x.key})
	if err == nil && answer.Entry.ETag() == x.answer.Entry.ETag() {
		answer, err = x.p.cfg.Tokens.Token(ctx, x.id, token.Request{Key: x.key, Force: true})
	}
	// The resource's own answer says more than that the token is as it was.
	return err == nil && x.take(answer), nil
}

// take makes this the token to send; false where it is the one that was refused.
func (x *exchange) take(answer cache.Answer) bool {
	if answer.Entry.ETag() == x.answer.Entry.ETag() {
		return false
	}
	x.answer = answer
	x.issued()
	return true
}

// sendAgain is for a request whose body is gone when it should be repeated.
func sendAgain() error {
	return &token.Error{
		Kind: token.KindUnavailable, Op: opProxy, RetryAfter: time.Second,
		Detail: "The resource asked for another token, which the broker now has, but the body was too large to be kept; send the request again.",
	}
}

// maxDiscard is how much of an answer that nobody gets is read, so that its
// connection can be used again.
const maxDiscard = 64 << 10

func discard(res *http.Response) {
	_, _ = io.CopyN(io.Discard, res.Body, maxDiscard)
	_ = res.Body.Close()
}

// count tells which operation of Exchange Web Services went to the resource.
func (x *exchange) count(method string) {
	if !x.base.ews || method != http.MethodPost || x.p.cfg.Counted == nil {
		return
	}
	if x.op == "" && x.body != nil {
		x.op = operationIn(x.body.beginning())
	}
	x.p.cfg.Counted(x.id.Label, x.op)
}

// done tells how it ended; it also runs while an answer is broken off.
func (x *exchange) done(ctx context.Context) {
	if x.p.cfg.Done == nil {
		return
	}
	if x.took == 0 {
		x.took = time.Since(x.began)
	}
	x.p.cfg.Done(ctx, Result{Consumer: x.id.Label, Resource: x.resource, Status: x.status, Err: x.err, Took: x.took})
}

// errIdle ends a request in which nothing moves any more.
var errIdle = errors.New("neither side sent anything")
