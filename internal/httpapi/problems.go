package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/token"
)

const (
	problemType    = "urn:m365-token-broker:problem:"
	mimeProblem    = "application/problem+json"
	signInsPath    = "/v1/signins"
	defaultPending = 5 * time.Second
	defaultBackoff = 30 * time.Second
	firstAttempt   = 5 * time.Minute // of an Outlook target after a failure
)

// meaning is how a kind shows on the outside.
type meaning struct {
	status int
	title  string
	retry  time.Duration // Retry-After where the error has none; zero: no such header
	detail string        // where the error has none
}

// meanings is the one table from kind to HTTP.
var meanings = map[token.Kind]meaning{
	token.KindInternal:        {500, "The broker failed", 0, "The broker failed; its log has the cause under this request's ID."},
	token.KindUnauthenticated: {401, "The key is missing or not known", 0, "Send a key that the broker knows."},
	token.KindDenied:          {403, "Not allowed", 0, "The caller may not do this; ask the administrator of the broker."},
	token.KindWrongProcess:    {403, "Not the process that the key is for", 0, "This key was given to another program or account; use a key of this program's own."},
	token.KindInvalidRequest:  {400, "The request is wrong", 0, "Correct the request; /openapi.yaml describes it."},
	token.KindUnknownResource: {400, "The resource is not known", 0, "Name a resource of the configuration."},
	token.KindUnknownAccount:  {400, "The account is not known", 0, "Name an account that is signed in; broker accounts lists them."},
	token.KindNotFound:        {404, "Not found", 0, "There is no such thing."},
	token.KindConflict:        {409, "Not possible in this state", 0, "It exists already, or it is in the wrong state for this."},
	token.KindSignInRequired:  {409, "A sign-in is required", 0, "A person must sign in; run broker login."},
	token.KindSignInPending:   {409, "A sign-in is running", defaultPending, "Finish the sign-in that is running, and try again."},
	token.KindDeclined:        {409, "The sign-in was declined", 0, "The person declined the sign-in; start another one."},
	token.KindExpired:         {409, "The sign-in expired", 0, "Nobody finished the sign-in in time; start another one."},
	token.KindCancelled:       {409, "Cancelled", 0, "It was cancelled; start again."},
	token.KindPolicyBlocked:   {403, "Blocked by a policy of the tenant", 0, "An administrator of the tenant must allow this."},
	token.KindConfiguration:   {500, "The app registration or the configuration is wrong", 0, "Correct the app registration or the broker's configuration."},
	token.KindThrottled:       {503, "Microsoft Entra ID asked to slow down", defaultBackoff, "Try again later."},
	token.KindUnavailable:     {503, "Microsoft Entra ID cannot be reached", defaultBackoff, "Check the network of this machine, and try again later."},
	token.KindInvalid:         {502, "Microsoft Entra ID gave no usable answer", 0, "Something between this machine and Microsoft Entra ID changes its answers; check proxies, and try again later."},
	token.KindTimeout:         {504, "Microsoft Entra ID took too long", 0, "Try again later."},
	token.KindRateLimited:     {429, "Too many requests", time.Second, "Call less often."},
	token.KindUnsupported:     {400, "Not supported", 0, "There is no token for this."},
	token.KindMAPIBackoff:     {503, "An attempt to renew through Outlook failed", firstAttempt, "The last attempt to renew through Outlook failed; the broker makes the next one by itself."},
	token.KindMAPINoSession:   {503, "Nobody is logged on for Outlook", 0, "Log on to this machine as the account of the Outlook target, and leave the session locked."},
	token.KindMAPIUserAction:  {409, "A person must act in Outlook's session", 0, "Log on to this machine as the account of the Outlook target, and answer what Outlook shows."},
	token.KindMAPIUnsupported: {501, "The Outlook fallback cannot work here", 0, "This Outlook target cannot work as it is; to see why, run: broker mapi status"},
	token.KindMAPISuspended:   {503, "The Outlook fallback is suspended", 0, "No attempts are made for this Outlook target; to see why, run: broker mapi status"},
	token.KindStore:           {503, "The secret store failed", 0, "Run broker status; it says what is wrong with the secret store."},
}

// keyShape is a key that a caller put where a name belongs. Its own log often
// keeps the error, so the sentence does not repeat it.
var keyShape = regexp.MustCompile(`\b(brk|bra|brg)_[A-Za-z0-9_-]{6,}`)

// withoutKeys looks for a prefix first: the expression takes most of the time of
// a refusal, and a flood of wrong keys brings thousands a second.
func withoutKeys(s string) string {
	if !strings.Contains(s, "brk_") && !strings.Contains(s, "bra_") && !strings.Contains(s, "brg_") {
		return s
	}
	return keyShape.ReplaceAllString(s, "[a key]")
}

// statusError is an error with another status than its kind's.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// ProblemOf is the problem document of an error, as part of another answer; the
// zero Problem for nil.
func ProblemOf(e *token.Error) Problem {
	if e == nil {
		return Problem{}
	}
	m, ok := meanings[e.Kind]
	if !ok {
		m = meanings[token.KindInternal]
	}
	p := Problem{
		Type: problemType + e.Kind.Code(), Title: m.title, Status: m.status, Detail: e.Detail,
		Code: ProblemCode(e.Kind.Code()), Retryable: e.Kind.Retryable(), UserAction: ProblemUserAction(e.Kind.UserAction()),
		Error: e.OAuthError, Suberror: e.SubError, Aadsts: e.AADSTS, CorrelationID: e.CorrelationID,
		Claims: e.Claims, RetryAfter: wholeSeconds(e.RetryAfter),
	}
	if p.Detail == "" {
		p.Detail = m.detail
	}
	p.Detail = withoutKeys(p.Detail)
	if p.RetryAfter == 0 {
		p.RetryAfter = wholeSeconds(m.retry)
	}
	if e.Kind == token.KindSignInRequired || e.Kind == token.KindSignInPending {
		p.SignIn = signInsPath
	}
	return p
}

// wholeSeconds rounds up, so that a caller who obeys is never too early.
func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// fail answers with the problem of err and logs it.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if s.isWrongKey(err) {
		s.failWrongKey(w, r)
		return
	}
	s.send(w, s.note(w, r, err))
}

// send answers with a problem.
func (s *Server) send(w http.ResponseWriter, p Problem) {
	h := w.Header()
	if p.Status == http.StatusUnauthorized {
		h.Add("WWW-Authenticate", "Bearer")
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	sendProblem(w, p.Status, encode(p))
}

// typeProblem is shared by all answers, like noStore.
var typeProblem = []string{mimeProblem}

// sendProblem sends a problem's bytes.
func sendProblem(w http.ResponseWriter, status int, body []byte) {
	h := w.Header() // set without Set, whose canonical names cost time
	h["Content-Type"] = typeProblem
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller that has gone needs no answer
}

// note logs an error that a request ends with, and gives the problem that its
// caller is told, in whatever form.
func (s *Server) note(w http.ResponseWriter, r *http.Request, err error) Problem {
	e := s.asStop(token.AsError(err))
	p := ProblemOf(e)
	if se, ok := errors.AsType[*statusError](err); ok {
		p.Status = se.status
	}
	if te, ok := errors.AsType[*targetError](err); ok {
		te.into(&p)
		e = te.forLog()
	}
	p.Instance = w.Header().Get(headerRequestID)
	s.log(r.Context(), p.Instance, p.Status, e)
	s.refused(r, e.Kind, p.Instance)
	return p
}

// encode writes JSON for programs, so < stays <.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil { // our own types always encode
		return []byte("{}")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// failEcho is the end of every error on echo's side.
func (s *Server) failEcho(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	if he, ok := errors.AsType[*echo.HTTPError](err); ok {
		err = fromEcho(he)
	}
	r := c.Request()
	s.refuse(c.Response(), r.WithContext(withRoute(r.Context(), s.routeOf(c))), err)
}

// fromEcho is for the errors that echo and the generated code make; their texts
// can hold values of the request and are not passed on.
func fromEcho(he *echo.HTTPError) error {
	switch {
	case he.Code == http.StatusNotFound:
		return token.NewError(token.KindNotFound, "route", "There is no such path; /openapi.yaml has those there are.")
	case he.Code >= 400 && he.Code < 500:
		return &statusError{he.Code, token.NewError(token.KindInvalidRequest, "check request", "")}
	default:
		return &token.Error{Kind: token.KindInternal, Op: "route", Err: errors.New(http.StatusText(he.Code))}
	}
}

// answer sends v as JSON.
func answer(c echo.Context, status int, v any) error {
	return c.Blob(status, echo.MIMEApplicationJSON, encode(v))
}
