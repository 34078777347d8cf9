package entra

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// step is what was asked of the authority; the same code may mean another thing
// at another step.
type step int

const (
	stepDiscovery  step = iota // the OpenID discovery document
	stepDeviceCode             // a device authorization
	stepPoll                   // a token for a device code
	stepBrowser                // the authorization page's answer to the redirect
	stepCode                   // a token for an authorization code
	stepRedeem                 // a token for a refresh token
)

// op names the step in errors and logs.
func (s step) op() string {
	return [...]string{
		"read the authority's discovery document", "start a device code", "poll a device code",
		"sign in with the browser", "redeem the authorization code", "redeem the refresh token",
	}[s]
}

// codeLoop is AADSTS50196: the authority sees us loop. It arrives as
// invalid_grant, and is the one number that decides something.
const codeLoop = 50196

// Bounds of a pause that the authority asks for.
const (
	maxRetryAfter = time.Hour
	loopPause     = 5 * time.Minute
)

// record is what one answer said: all that is kept of it, besides the answer
// itself where it was a good one.
type record struct {
	status        int
	oauth         oauthError
	understood    bool // the body is an OAuth error
	retryAfter    time.Duration
	correlationID string
	requestID     string
}

// kindOf is the classification: status, then error, then suberror, as
// Microsoft asks for ("react to error, never to the description or the AADSTS
// numbers"). There are two exceptions: codeLoop, and a tie where Entra sent no
// suberror (blockedByAdmin).
func kindOf(s step, r record) token.Kind {
	switch {
	case slices.Contains(r.oauth.aadsts, codeLoop) || r.status == http.StatusTooManyRequests:
		return token.KindThrottled
	case r.status >= 500 || r.status == http.StatusProxyAuthRequired || r.status == http.StatusRequestTimeout:
		return token.KindUnavailable
	case !r.understood || r.status == http.StatusOK:
		return token.KindInvalid
	}
	return kindOfError(s, r.oauth)
}

// kindOfError classifies an OAuth error of a 4xx answer or of the browser.
func kindOfError(s step, e oauthError) token.Kind {
	switch e.code {
	case "temporarily_unavailable", "server_error":
		return token.KindUnavailable
	case "authorization_declined":
		if s == stepRedeem {
			return token.KindSignInRequired // no sign-in is running that could be declined
		}
		return token.KindDeclined
	case "access_denied":
		if s == stepRedeem || slices.ContainsFunc(e.aadsts, blockedByAdmin) {
			return token.KindPolicyBlocked
		}
		return token.KindDeclined // RFC 8628 section 3.5, RFC 6749 section 4.1.2.1
	case "expired_token", "code_expired", "bad_verification_code":
		if s == stepRedeem {
			return token.KindSignInRequired // what has expired is the stored sign-in
		}
		return token.KindExpired
	case "invalid_grant", "interaction_required", "login_required", "consent_required", "account_selection_required":
		if needsAdmin(e.subError) || (e.subError == "" && slices.ContainsFunc(e.aadsts, blockedByAdmin)) {
			return token.KindPolicyBlocked
		}
		return token.KindSignInRequired
	case "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "invalid_resource", "invalid_target",
		"unsupported_grant_type", "unsupported_response_type", "invalid_tenant", "invalid_instance":
		if e.subError == "protection_policy_required" {
			return token.KindPolicyBlocked
		}
		return token.KindConfiguration
	}
	return token.KindInvalid
}

// needsAdmin reports the suberrors that no sign-in can mend: a block, or a
// demand on the device (Microsoft, "Handle errors: suberror").
func needsAdmin(subError string) bool {
	switch subError {
	case "message_only", "additional_action", "protection_policy_required", "device_authentication_failed":
		return true
	}
	return false
}

// blockedByAdmin is the tie-breaker for a grant that was refused without a
// suberror: these numbers mean that a sign-in would be refused as well
// (Conditional Access, a disabled account, a missing assignment or consent).
func blockedByAdmin(code int) bool {
	switch code {
	case 50005, 50057, 50097, 50105, 53000, 53001, 53002, 53003, 53004, 53011, 530032, 530035,
		90094, 90095, 500021, 500022, 500212, 500213:
		return true
	}
	return false
}

// problem makes the error that leaves the package.
func (r record) problem(s step, host string) *token.Error {
	kind := kindOf(s, r)
	e := &token.Error{
		Kind: kind, Op: s.op(), Detail: sentence(s, kind, r, host),
		OAuthError: r.oauth.code, SubError: r.oauth.subError, AADSTS: helpfulCode(r.oauth.aadsts),
		Status: r.status, CorrelationID: r.correlationID, RequestID: r.requestID,
		RetryAfter: r.retryAfter, Claims: r.oauth.claims,
	}
	if slices.Contains(r.oauth.aadsts, codeLoop) {
		e.RetryAfter = max(e.RetryAfter, loopPause)
	}
	return e
}

// helpfulCode picks the AADSTS number to report: the first with a help text,
// else the first.
func helpfulCode(codes []int) int {
	for _, c := range codes {
		if _, ok := codeHelp(c); ok {
			return c
		}
	}
	if len(codes) > 0 {
		return codes[0]
	}
	return 0
}

// parseRetryAfter reads a Retry-After header (RFC 9110 section 10.2.3): seconds
// or a date, at most an hour.
func parseRetryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if n, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(n)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now).Round(time.Second), 0), maxRetryAfter)
}
