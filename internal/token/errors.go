package token

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Error is an error at a package border: a Kind for the program, a sentence for
// the person, and what the authority said in codes for the operator. It never
// holds text of the authority, a token or a key.
type Error struct {
	Kind   Kind
	Op     string // what was being done, for example "redeem refresh token"
	Detail string // one sentence that says what to do

	// What the authority said; empty where it said nothing.
	OAuthError    string        // RFC 6749 section 5.2, restricted to its own character set
	SubError      string        // Entra's suberror
	AADSTS        int           // for help texts only
	Status        int           // HTTP status
	CorrelationID string        // client-request-id, a GUID
	RequestID     string        // x-ms-request-id, a GUID
	RetryAfter    time.Duration // zero where nothing was said
	Claims        string        // decoded JSON to sign in again with; never logged

	Trace string // opaque reference to the span that failed, see Token.Trace
	Err   error  // our own cause; never an error of MSAL
}

// NewError makes an Error of kind k with a sentence that says what to do.
func NewError(k Kind, op, detail string) *Error { return &Error{Kind: k, Op: op, Detail: detail} }

// Error is for logs: kind, operation and our own cause.
func (e *Error) Error() string {
	s := e.Kind.Code()
	if e.Op != "" {
		s = e.Op + ": " + s
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives our own cause.
func (e *Error) Unwrap() error { return e.Err }

// AccountWide reports whether the error would meet every resource of the
// account. A step-up, a missing consent and a policy are often about one
// resource only.
func (e *Error) AccountWide() bool {
	switch e.Kind {
	case KindThrottled, KindUnavailable, KindTimeout, KindInvalid:
		return true
	case KindSignInRequired:
		return e.Claims == "" && e.SubError != "consent_required" && e.SubError != "basic_action"
	default:
		return false
	}
}

// LogValue gives slog the parts an operator needs and none that is secret.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{slog.String("kind", e.Kind.Code())}
	add := func(k, v string) {
		if v != "" {
			attrs = append(attrs, slog.String(k, v))
		}
	}
	add("op", e.Op)
	add("detail", e.Detail)
	add("oauth_error", e.OAuthError)
	add("suberror", e.SubError)
	add("correlation_id", e.CorrelationID)
	add("request_id", e.RequestID)
	if e.AADSTS != 0 {
		attrs = append(attrs, slog.Int("aadsts", e.AADSTS))
	}
	if e.Status != 0 {
		attrs = append(attrs, slog.Int("status", e.Status))
	}
	if e.RetryAfter != 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	if e.Err != nil {
		add("cause", e.Err.Error())
	}
	return slog.GroupValue(attrs...)
}

// AsError finds the *Error in err. An error that is foreign becomes KindTimeout
// or KindCancelled where a context ended, and KindInternal otherwise.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Kind: KindTimeout, Detail: "The broker did not get an answer in time; try again."}
	case errors.Is(err, context.Canceled):
		return &Error{Kind: KindCancelled, Detail: "The request was cancelled."}
	}
	return &Error{Kind: KindInternal, Detail: "The broker failed; its log has the cause under this request's ID.", Err: err}
}

// KindOf is the kind of err; see AsError.
func KindOf(err error) Kind { return AsError(err).Kind }
