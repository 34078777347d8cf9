package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// api speaks the loopback API with the admin key, either to a running broker or
// to one that lives in this process for the length of a command.
type api struct {
	http  *http.Client
	base  string // http://127.0.0.1:8477
	key   token.Secret
	close func() error // ends an in-process broker; a no-op otherwise
	local bool         // the broker lives in this process
	parts *parts       // that broker; nil where it does not

	stateDir string        // of a running broker
	lost     chan struct{} // told when a connection to it ended; nil: nobody looks
}

// call sends one request and decodes the answer into out (nil: no body is
// expected). A problem document becomes a *token.Error, in a *requestError where
// the broker's log has more.
func (a *api) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	req, err := a.request(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	res, err := a.http.Do(req)
	if err != nil {
		return unreachable(a.base, err)
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return unreachable(a.base, err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		return a.problem(res, body)
	}
	if out == nil || len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("the broker at %s sent an answer that this version does not understand", a.base)
	}
	return nil
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 20

func (a *api) request(ctx context.Context, method, path string, query url.Values, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(raw)
	}
	target := a.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+a.key.Reveal())
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// unreachable is the error for a broker that does not answer.
func unreachable(base string, err error) error {
	if errors.Is(err, context.Canceled) {
		return token.NewError(token.KindCancelled, "", "Cancelled.")
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fmt.Errorf("the broker at %s does not answer; see its log, or start it with `broker serve`: %w", base, err)
}

// problem reads a problem document (RFC 9457).
func (a *api) problem(res *http.Response, body []byte) error {
	var p httpapi.Problem
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") || json.Unmarshal(body, &p) != nil {
		return fmt.Errorf("something that is not a broker answers at %s (HTTP %d); see the setting listen", res.Request.URL.Host, res.StatusCode)
	}
	e := fromProblem(p)
	if a.local || p.Instance == "" || !traceable(e.Kind) {
		return e
	}
	return &requestError{err: e, id: p.Instance}
}

// requestError is an error whose cause stands in the log of a running broker,
// under the ID of the request. A broker in this process has no log beside what
// it printed.
type requestError struct {
	err *token.Error
	id  string
}

func (e *requestError) Error() string { return e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

// traceable reports whether the log says more of a kind than its sentence does.
func traceable(k token.Kind) bool {
	switch k {
	case token.KindInternal, token.KindStore, token.KindUnavailable, token.KindInvalid, token.KindTimeout:
		return true
	default:
		return false
	}
}

// fromProblem is the *token.Error that a problem document stands for.
func fromProblem(p httpapi.Problem) *token.Error {
	e := &token.Error{
		Kind: token.KindInternal, Detail: p.Detail, OAuthError: p.Error, SubError: p.Suberror, AADSTS: p.Aadsts,
		CorrelationID: p.CorrelationID, RetryAfter: time.Duration(p.RetryAfter) * time.Second, Claims: p.Claims,
	}
	for _, k := range token.Kinds() {
		if k.Code() == string(p.Code) {
			e.Kind = k
		}
	}
	return e
}
