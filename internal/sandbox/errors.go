package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// oauthError is an error answer of RFC 6749 section 5.2 in Entra's dress.
type oauthError struct {
	status   int // zero is 400
	code     string
	suberror string
	aadsts   int
	text     string
	claims   string // decoded JSON of a claims challenge
}

// Errors that the endpoints answer by themselves; scenarios use them too.
// Sources: Microsoft, "Microsoft Entra authentication and authorization error
// codes" (reference-error-codes), and answers seen in public issue trackers.
var (
	errPending      = oauthError{code: "authorization_pending", aadsts: 70016, text: "OAuth 2.0 device flow error. Authorization is pending. Continue polling."}
	errSlowDown     = oauthError{code: "slow_down", text: "The client polls too fast. Add 5 seconds to the interval."}
	errDeclined     = oauthError{code: "authorization_declined", aadsts: 65004, text: "User declined to consent to access the app."}
	errCodeExpired  = oauthError{code: "expired_token", aadsts: 70020, text: "The provided value for the input parameter 'device_code' is not valid. This device code has expired."}
	errBadCode      = oauthError{code: "bad_verification_code", aadsts: 70018, text: "The provided value for the input parameter 'device_code' is not valid."}
	errBadRefresh   = oauthError{code: "invalid_grant", suberror: "bad_token", aadsts: 70000, text: "The provided value for the input parameter 'refresh_token' is not valid."}
	errRevoked      = oauthError{code: "invalid_grant", suberror: "bad_token", aadsts: 50173, text: "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password."}
	errIdle         = oauthError{code: "invalid_grant", suberror: "token_expired", aadsts: 700082, text: "The refresh token has expired due to inactivity. The token was inactive for 90.00:00:00."}
	errFrequency    = oauthError{code: "invalid_grant", suberror: "token_expired", aadsts: 70043, text: "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access."}
	errDisabled     = oauthError{code: "invalid_grant", aadsts: 50057, text: "The user account is disabled."}
	errNoApp        = oauthError{code: "unauthorized_client", aadsts: 700016, text: "Application with this identifier was not found in the directory 'Contoso'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant."}
	errSecret       = oauthError{status: http.StatusUnauthorized, code: "invalid_client", aadsts: 700025, text: "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."}
	errGrantType    = oauthError{code: "unsupported_grant_type", aadsts: 70003, text: "The app requested an unsupported grant type."}
	errTwoResources = oauthError{code: "invalid_request", aadsts: 28000, text: "Provided value for the input parameter scope is not valid because it contains more than one resource."}
	errBadScope     = oauthError{code: "invalid_scope", aadsts: 70011, text: "The provided value for the input parameter 'scope' is not valid. '.default' cannot be combined with other scopes of the resource, and every scope must be well formed."}
	errNoResource   = oauthError{code: "invalid_resource", aadsts: 500011, text: "The resource principal of this scope was not found in the tenant named Contoso."}
	errNoTenant     = oauthError{code: "invalid_request", aadsts: 90002, text: "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."}
	errSingleTenant = oauthError{code: "invalid_request", aadsts: 50194, text: "Application is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps. Use a tenant-specific endpoint."}
	errUsedCode     = oauthError{code: "invalid_grant", aadsts: 54005, text: "OAuth2 Authorization code was already redeemed, please retry with a new valid code."}
	errBadAuthCode  = oauthError{code: "invalid_grant", aadsts: 70008, text: "The provided authorization code or refresh token has expired due to inactivity or is unknown. Send a new interactive authorization request."}
	errVerifier     = oauthError{code: "invalid_grant", aadsts: 501481, text: "The Code_Verifier does not match the code_challenge supplied in the authorization request."}
	errPost         = oauthError{status: http.StatusMethodNotAllowed, code: "invalid_request", aadsts: 900561, text: "The endpoint only accepts POST requests."}
	errBadClaims    = oauthError{code: "invalid_request", aadsts: 50153, text: "The claims parameter is not a valid JSON object."}
	errTooLarge     = oauthError{status: http.StatusRequestEntityTooLarge, code: "invalid_request", aadsts: 9002313, text: "Invalid request. Request is malformed or invalid."}
)

// missing is what Entra answers where a parameter is absent.
func missing(parameter string) oauthError {
	return oauthError{code: "invalid_request", aadsts: 900144, text: "The request body must contain the following parameter: '" + parameter + "'."}
}

// errorBody is the JSON of an error answer.
type errorBody struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes,omitempty"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri,omitempty"`
	SubError      string `json:"suberror,omitempty"`
	Claims        string `json:"claims,omitempty"`
}

// errorBody dresses the error for the request that w answers.
func (s *Sandbox) errorBody(w http.ResponseWriter, e oauthError) errorBody {
	b := errorBody{
		Error:         e.code,
		Timestamp:     s.now().UTC().Format("2006-01-02 15:04:05Z"),
		TraceID:       w.Header().Get(headerRequestID),
		CorrelationID: w.Header().Get(headerCorrelationID),
		SubError:      e.suberror,
		Claims:        e.claims,
	}
	text := e.text
	if e.aadsts != 0 {
		text = fmt.Sprintf("AADSTS%d: %s", e.aadsts, e.text)
		b.Codes = []int{e.aadsts}
		b.URI = fmt.Sprintf("%s/error?code=%d", s.url, e.aadsts)
	}
	b.Description = fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", text, b.TraceID, b.CorrelationID, b.Timestamp)
	return b
}

// refuse answers with an error of the token and device code endpoints.
func (s *Sandbox) refuse(w http.ResponseWriter, e oauthError) {
	status := e.status
	if status == 0 {
		status = http.StatusBadRequest
	}
	writeJSON(w, status, s.errorBody(w, e))
}

// writeJSON answers with v. No answer of the sandbox may be kept.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // only a defect of ours: no type here can fail
		http.Error(w, "the sandbox cannot encode its answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// retryAfter tells the caller when to come back, in whole seconds, rounded up.
func retryAfter(w http.ResponseWriter, d time.Duration) {
	if d > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
	}
}
