package client

import (
	"fmt"
	"log/slog"
	"time"
)

// The codes of an Error that a program may want to look at; /openapi.yaml of the
// broker has them all.
const (
	CodeSignInRequired = "sign-in-required" // always a *SignInRequiredError
	CodeSignInPending  = "sign-in-pending"  // always a *SignInRequiredError
	CodePolicyBlocked  = "policy-blocked"   // an administrator of the tenant must act
	CodeDenied         = "denied"           // the consumer may not have this
	CodeUnauthorized   = "unauthenticated"  // the key is not known, or has ended
	CodeWrongProcess   = "wrong-process"    // the key was given to another program
	CodeRateLimited    = "rate-limited"
	CodeUnavailable    = "upstream-unavailable"
)

// Error is what the broker said went wrong: the members of its problem document.
type Error struct {
	Status     int    // of HTTP
	Code       string // stable, for programs
	Title      string
	Detail     string        // one sentence that says what to do
	Retryable  bool          // the same request may succeed later with nobody doing anything
	UserAction string        // who must act: sign-in, contact-admin or none
	RetryAfter time.Duration // zero where nothing was said
	RequestID  string        // the broker's log has it too

	// What Microsoft Entra ID said; empty where it said nothing.
	OAuthError    string
	SubError      string
	AADSTS        int
	CorrelationID string
	Claims        string // JSON to sign in again with; not part of Error or LogValue
}

// Error is the broker's sentence with its code.
func (e *Error) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("token broker: %s (status %d)", e.Code, e.Status)
	}
	return fmt.Sprintf("token broker: %s: %s", e.Code, e.Detail)
}

// LogValue gives slog what an operator needs.
func (e *Error) LogValue() slog.Value {
	return slog.GroupValue(slog.String("code", e.Code), slog.Int("status", e.Status), slog.String("detail", e.Detail),
		slog.String("request_id", e.RequestID), slog.String("correlation_id", e.CorrelationID), slog.Int("aadsts", e.AADSTS))
}

// SignInRequiredError is that a person must sign in before there can be a token.
// Trying again does not help until somebody did.
type SignInRequiredError struct {
	// Problem is what the broker said, with the claims of a step-up.
	Problem *Error
	// Account is the account that was asked for; empty where none was named.
	Account string
	// Pending is that somebody is signing in at this moment.
	Pending bool
	// Link is where the broker takes the request for a sign-in, for programs that
	// hold its admin key: POST with {"account": …}.
	Link string
}

// Error is the broker's sentence with its code.
func (e *SignInRequiredError) Error() string { return e.Problem.Error() }

// Unwrap gives the problem itself.
func (e *SignInRequiredError) Unwrap() error { return e.Problem }

// LogValue is the problem's.
func (e *SignInRequiredError) LogValue() slog.Value { return e.Problem.LogValue() }

// Command is what a person runs to sign in.
func (e *SignInRequiredError) Command() string {
	if e.Account == "" {
		return "broker login"
	}
	return "broker login --account " + e.Account
}
