package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	firstPause  = 100 * time.Millisecond
	longPause   = 2 * time.Second
	maxAnswer   = 1 << 20 // bytes
	problemJSON = "application/problem+json"
)

// ask gets a token from the broker, and tries again for as long as MaxWait allows
// where that may help: the broker is not there (it is being restarted), or it says
// that the same request may succeed later.
func (c *Client) ask(ctx context.Context, r Request) (Token, error) {
	ends := time.Now().Add(c.maxWait)
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		t, err := c.try(ctx, r)
		wait, again := pauseAfter(err, pause)
		if err == nil || !again || ctx.Err() != nil || time.Now().Add(wait).After(ends) {
			return t, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return Token{}, err
		}
	}
}

// pauseAfter is how long to wait after an error, and whether to try again at all.
// The broker's own wish goes before ours; ours is spread, so that many programs do
// not come back at the same moment.
func pauseAfter(err error, pause time.Duration) (time.Duration, bool) {
	pause = pause/2 + rand.N(pause/2+1) //nolint:gosec // a pause, no secret
	if _, person := errors.AsType[*SignInRequiredError](err); person {
		return 0, false
	}
	e, answered := errors.AsType[*Error](err)
	switch {
	case !answered:
		return pause, errors.As(err, new(*url.Error))
	case e.RetryAfter > 0:
		return e.RetryAfter, e.Retryable
	default:
		return pause, e.Retryable
	}
}

// try asks once.
func (c *Client) try(ctx context.Context, r Request) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, longestAnswer)
	defer cancel()
	req, err := c.request(ctx, r)
	if err != nil {
		return Token{}, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Token{}, fmt.Errorf("token broker: it does not answer; see whether it runs with broker status: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return Token{}, fmt.Errorf("token broker: its answer broke off: %w", &url.Error{Op: req.Method, URL: c.base, Err: err})
	}
	if res.StatusCode != http.StatusOK {
		return Token{}, c.problem(r, res, body)
	}
	return parseToken(body)
}

// request is GET /v1/token, or POST where the cache is to be passed by.
func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	const path = "/v1/token"
	seconds := int64((r.MinValidity + time.Second - 1) / time.Second)
	method, target, body := http.MethodGet, c.base+path, []byte(nil)
	if r.Claims != "" || r.ForceRefresh {
		method = http.MethodPost
		body, _ = json.Marshal(struct { // texts and numbers always marshal
			Resource     string `json:"resource"`
			Account      string `json:"account,omitempty"`
			MinValidity  int64  `json:"min_validity,omitempty"`
			Claims       string `json:"claims,omitempty"`
			ForceRefresh bool   `json:"force_refresh,omitempty"`
		}{r.Resource, r.Account, seconds, r.Claims, r.ForceRefresh})
	} else {
		q := url.Values{"resource": {r.Resource}}
		if r.Account != "" {
			q.Set("account", r.Account)
		}
		if seconds > 0 {
			q.Set("min_validity", strconv.FormatInt(seconds, 10))
		}
		target += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key())
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "m365-token-broker-client")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

func parseToken(body []byte) (Token, error) {
	var in struct {
		AccessToken string `json:"access_token"`
		ExpiresOn   int64  `json:"expires_on"`
		Resource    string `json:"resource"`
		Scope       string `json:"scope"`
		Account     string `json:"account"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.AccessToken == "" || in.ExpiresOn <= 0 {
		return Token{}, errors.New("token broker: its answer is no token; see whether something else listens at its address")
	}
	return Token{
		access: func() string { return in.AccessToken }, ExpiresOn: time.Unix(in.ExpiresOn, 0).UTC(),
		Resource: in.Resource, Scope: in.Scope, Account: in.Account,
	}, nil
}

// problem makes an error of an answer that is no token.
func (c *Client) problem(r Request, res *http.Response, body []byte) error {
	var in struct {
		Code          string          `json:"code"`
		Title         string          `json:"title"`
		Detail        string          `json:"detail"`
		Retryable     bool            `json:"retryable"`
		UserAction    string          `json:"user_action"`
		Instance      string          `json:"instance"`
		RetryAfter    int             `json:"retry_after"`
		Error         string          `json:"error"`
		Suberror      string          `json:"suberror"`
		AADSTS        int             `json:"aadsts"`
		CorrelationID string          `json:"correlation_id"`
		Claims        json.RawMessage `json:"claims"`
		SignIn        string          `json:"sign_in"`
	}
	kind := res.Header.Get("Content-Type")
	if err := json.Unmarshal(body, &in); err != nil || in.Code == "" || kind != problemJSON {
		return fmt.Errorf("token broker: something else than the broker answered with the status %d; see what listens at its address", res.StatusCode)
	}
	e := &Error{
		Status: res.StatusCode, Code: in.Code, Title: in.Title, Detail: in.Detail, Retryable: in.Retryable, UserAction: in.UserAction,
		RetryAfter: retryAfter(res.Header, in.RetryAfter), RequestID: in.Instance,
		OAuthError: in.Error, SubError: in.Suberror, AADSTS: in.AADSTS, CorrelationID: in.CorrelationID, Claims: textOf(in.Claims),
	}
	if in.Code != CodeSignInRequired && in.Code != CodeSignInPending {
		return e
	}
	out := &SignInRequiredError{Problem: e, Account: r.Account, Pending: in.Code == CodeSignInPending}
	if in.SignIn != "" {
		out.Link = c.base + in.SignIn
	}
	return out
}

// textOf is a JSON text, or what a JSON string holds.
func textOf(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// retryAfter is the wait that the broker asks for: in the header, or in the body.
func retryAfter(h http.Header, seconds int) time.Duration {
	if n, err := strconv.Atoi(h.Get("Retry-After")); err == nil && n > seconds {
		seconds = n
	}
	return time.Duration(max(0, seconds)) * time.Second
}
