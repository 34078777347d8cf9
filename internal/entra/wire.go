package entra

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// maxBody is the size of an answer that is read. Entra's are below 20 KiB.
const maxBody = 1 << 20

// wire sends single requests to one authority host: https only, that host only,
// no redirects (a RoundTripper follows none), one deadline each, a limited
// body. Safe for concurrent use.
type wire struct {
	transport http.RoundTripper
	timeout   time.Duration
	log       *slog.Logger
}

// request is one request to an authority.
type request struct {
	step   step
	host   string // the only host it may go to
	url    string
	form   url.Values // POST where not nil
	header http.Header
}

// send makes one request and returns the body of a 200 answer with what else it
// said. Every other outcome is an error with its Kind; where ctx ended, it is
// ctx's.
func (w *wire) send(ctx context.Context, r request) ([]byte, record, *token.Error) {
	start := time.Now()
	body, rec, problem := w.exchange(ctx, r)
	if problem != nil && ctx.Err() != nil {
		problem = token.AsError(ctx.Err())
		problem.Op = r.step.op()
	}
	attrs := []any{slog.String("op", r.step.op()), slog.String("host", r.host), slog.Duration("took", time.Since(start))}
	if problem != nil {
		w.log.DebugContext(ctx, "authority refused or failed", append(attrs, slog.Any("problem", problem))...)
	} else {
		w.log.DebugContext(ctx, "authority answered", append(attrs, slog.Int("status", rec.status),
			slog.String("correlation_id", rec.correlationID), slog.String("request_id", rec.requestID))...)
	}
	return body, rec, problem
}

// exchange is send without its log line.
func (w *wire) exchange(ctx context.Context, r request) ([]byte, record, *token.Error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	req, problem := r.build(ctx)
	if problem != nil {
		return nil, record{}, problem
	}
	res, err := w.transport.RoundTrip(req)
	if err != nil {
		return nil, record{}, withIDs(fault(r.step, r.host, timeoutOr(ctx, err)), req)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, record{}, withIDs(fault(r.step, r.host, timeoutOr(ctx, err)), req)
	}
	rec := newRecord(req, res, time.Now())
	if len(body) > maxBody {
		return nil, rec, rec.problem(r.step, r.host)
	}
	if res.StatusCode == http.StatusOK {
		return body, rec, nil
	}
	rec.oauth, rec.understood = parseOAuthError(body)
	return nil, rec, rec.problem(r.step, r.host)
}

// build makes the HTTP request, or refuses one that would leave the authority.
func (r request) build(ctx context.Context) (*http.Request, *token.Error) {
	method, body := http.MethodGet, io.Reader(nil)
	if r.form != nil {
		method, body = http.MethodPost, bytes.NewReader([]byte(r.form.Encode()))
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url, body)
	if err != nil || !sameHost(req.URL, r.host) {
		return nil, token.NewError(token.KindInvalid, r.step.op(),
			"The authority's discovery document points to another host, or not to https; nothing was sent there. Check authority in the configuration.")
	}
	if r.header != nil {
		req.Header = r.header.Clone()
	}
	req.Header.Set("Accept", "application/json")
	if r.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, nil
}

// newRecord reads the parts of an answer outside its body.
func newRecord(req *http.Request, res *http.Response, now time.Time) record {
	return record{
		status:        res.StatusCode,
		retryAfter:    parseRetryAfter(res.Header.Get("Retry-After"), now),
		correlationID: requestID(req.Header.Get("client-request-id")),
		requestID:     requestID(res.Header.Get("x-ms-request-id")),
	}
}

// withIDs notes the correlation ID of a request that got no answer.
func withIDs(e *token.Error, req *http.Request) *token.Error {
	e.CorrelationID = requestID(req.Header.Get("client-request-id"))
	return e
}

// requestID lets a GUID pass and nothing else.
func requestID(s string) string {
	if !isGUID(s) {
		return ""
	}
	return s
}

// timeoutOr prefers the end of our own deadline to the transport's words for it.
func timeoutOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// sameHost reports whether u is https at exactly that host and port.
func sameHost(u *url.URL, host string) bool {
	return u.Scheme == "https" && u.User == nil && equalHost(u.Host, host)
}
