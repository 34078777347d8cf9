package sandbox

import (
	"cmp"
	"net/http"
	"slices"
	"time"
)

// Scenario is one fault of the real world that the sandbox can play.
type Scenario struct {
	Name      string     `json:"name"`
	Endpoints []Endpoint `json:"endpoints"` // where it strikes unless told otherwise
	Text      string     `json:"text"`      // one line for a person
}

// scenario is a Scenario with what it does.
type scenario struct {
	Scenario
	only    bool // strikes nowhere but at its Endpoints
	around  bool // lets the request be served and then spoils the answer
	act     func(*Sandbox, call)
	strikes func(*Sandbox, *activeFault, *http.Request) bool // nil: every request
}

// Scenarios lists everything that Fault can play.
func Scenarios() []Scenario {
	all := make([]Scenario, 0, len(scenarios))
	for _, sc := range scenarios {
		all = append(all, Scenario{Name: sc.Name, Endpoints: slices.Clone(sc.Endpoints), Text: sc.Text})
	}
	return all
}

func findScenario(name string) *scenario {
	for i := range scenarios {
		if scenarios[i].Name == name {
			return &scenarios[i]
		}
	}
	return nil
}

func scenarioNames() []string {
	names := make([]string, 0, len(scenarios))
	for _, sc := range scenarios {
		names = append(names, sc.Name)
	}
	return names
}

// at lists endpoints.
func at(e ...Endpoint) []Endpoint { return e }

// Where the families of scenarios strike by default.
func tokenEndpoints() []Endpoint {
	return at(EndpointTokenPoll, EndpointTokenCode, EndpointTokenRefresh)
}

// answerError makes a scenario that answers with an OAuth error.
func answerError(name string, where []Endpoint, text string, e oauthError) scenario {
	return scenario{Scenario: Scenario{name, where, text}, act: func(s *Sandbox, c call) { s.refuseAt(c, e) }}
}

// answerStatus makes a scenario that answers with a status; wait is its
// Retry-After unless the fault has one.
func answerStatus(name, text string, wait time.Duration, e oauthError) scenario {
	return scenario{Scenario: Scenario{name, tokenEndpoints(), text}, act: func(s *Sandbox, c call) {
		retryAfter(c.w, cmp.Or(c.fault.Fault.RetryAfter, wait))
		s.refuseAt(c, e)
	}}
}

// breakLine makes a scenario of the network between.
func breakLine(name, text string, act func(*Sandbox, call)) scenario {
	return scenario{Scenario: Scenario{name, tokenEndpoints(), text}, act: act}
}

// spoil makes a scenario that serves the request and spoils the answer.
func spoil(name, text string, act func(*Sandbox, call)) scenario {
	return scenario{Scenario: Scenario{name, tokenEndpoints(), text}, act: act, around: true}
}

const stepUp = `{"access_token":{"capolids":{"essential":true,"values":["7e57ab1e-5a9d-4b0c-8e57-c0ffee00ca01"]}}}`

// scenarios is the table; docs and the command line list it in this order.
var scenarios = []scenario{
	// Device code, RFC 8628 section 3.5.
	answerError("pending", at(EndpointTokenPoll), "the person has not decided yet", errPending),
	answerError("slow_down", at(EndpointTokenPoll), "poll less often: the interval grows by 5 s", errSlowDown),
	answerError("declined", at(EndpointTokenPoll), "the person declined", errDeclined),
	answerError("expired", at(EndpointTokenPoll), "the code was not used in time", errCodeExpired),
	answerError("bad_code", at(EndpointTokenPoll), "the device code is unknown", errBadCode),
	{
		Scenario: Scenario{"blocked_page", at(EndpointDevicePage, EndpointAuthorize), "Conditional Access blocks the person on the page (53003); the program sees only 'pending'"}, only: true,
		act: func(s *Sandbox, c call) { s.showError(c.w, c.r, http.StatusForbidden, errBlocked) },
	},
	{Scenario: Scenario{"access_denied", at(EndpointAuthorize), "the person cancels in the browser"}, only: true, act: denyAuthorize},

	// Redemption: what a person must solve.
	answerError("bad_token", at(EndpointTokenRefresh), "invalid_grant/bad_token 50173: the grant was revoked", errRevoked),
	answerError("token_expired", at(EndpointTokenRefresh), "invalid_grant/token_expired 700082: unused for 90 days", errIdle),
	answerError("sign_in_frequency", at(EndpointTokenRefresh), "invalid_grant/token_expired 70043: sign-in frequency", errFrequency),
	answerError("basic_action", at(EndpointTokenRefresh), "invalid_grant/basic_action 50076 with claims: MFA is due",
		oauthError{code: "invalid_grant", suberror: "basic_action", aadsts: 50076, claims: stepUp, text: "Due to a configuration change made by your administrator, or because you moved to a new location, you must use multi-factor authentication to access the resource."}),
	answerError("claims_challenge", at(EndpointTokenRefresh), "interaction_required 50079 with claims: a step-up is due",
		oauthError{code: "interaction_required", suberror: "basic_action", aadsts: 50079, claims: stepUp, text: "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access the resource."}),
	answerError("login_required", at(EndpointTokenRefresh), "login_required 50058: no session", oauthError{code: "login_required", aadsts: 50058, text: "A silent sign-in request was sent but no user is signed in."}),
	answerError("consent_required", tokenEndpoints(), "invalid_grant/consent_required 65001: nobody consented",
		oauthError{code: "invalid_grant", suberror: "consent_required", aadsts: 65001, text: "The user or administrator has not consented to use the application. Send an interactive authorization request for this user and resource."}),
	answerError("password_expired", at(EndpointTokenRefresh), "invalid_grant/user_password_expired 50055",
		oauthError{code: "invalid_grant", suberror: "user_password_expired", aadsts: 50055, text: "The password is expired."}),

	// Redemption: what an administrator must solve.
	answerError("message_only", tokenEndpoints(), "invalid_grant/message_only 53003: blocked by Conditional Access", errBlocked),
	answerError("additional_action", tokenEndpoints(), "invalid_grant/additional_action 53000: the device is not compliant",
		oauthError{code: "invalid_grant", suberror: "additional_action", aadsts: 53000, text: "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, and the device is not compliant."}),
	answerError("disabled", tokenEndpoints(), "invalid_grant 50057: the account is disabled", errDisabled),
	answerError("admin_consent", tokenEndpoints(), "90094: an administrator must consent", oauthError{code: "access_denied", aadsts: 90094, text: "The grant requires administrator permission."}),

	// Our registration or configuration.
	answerError("public_client_off", tokenEndpoints(), "invalid_client 7000218: 'allow public client flows' is off",
		oauthError{status: http.StatusUnauthorized, code: "invalid_client", aadsts: 7000218, text: "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."}),
	answerError("not_mobile", at(EndpointDeviceCode), "invalid_client 70002: a device code is refused to an app that is no public client",
		oauthError{status: http.StatusUnauthorized, code: "invalid_client", aadsts: 70002, text: "The provided client is not supported for this feature. The client application must be marked as 'mobile.'"}),
	answerError("app_not_found", at(EndpointDeviceCode, EndpointTokenPoll, EndpointTokenCode, EndpointTokenRefresh), "unauthorized_client 700016: no such application in the tenant", errNoApp),
	answerError("invalid_scope", tokenEndpoints(), "invalid_scope 70011", errBadScope),
	answerError("invalid_resource", tokenEndpoints(), "invalid_resource 500011: no such resource in the tenant", errNoResource),
	answerError("wrong_cloud", tokenEndpoints(), "invalid_request 900432: the account lives in another cloud", oauthError{code: "invalid_request", aadsts: 900432, text: "Confidential Client is not supported in Cross Cloud request."}),
	answerError("tenant_not_found", at(EndpointDiscovery), "invalid_tenant 90002: no such tenant", oauthError{code: "invalid_tenant", aadsts: 90002, text: errNoTenant.text}),

	{Scenario: Scenario{"other_cloud", at(EndpointDiscovery), "the tenant lives in the US government's cloud"}, only: true, around: true, act: otherCloud},

	// Throttling and outages.
	answerError("loop", tokenEndpoints(), "invalid_grant 50196: the server saw a loop; back off", oauthError{code: "invalid_grant", aadsts: 50196, text: "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."}),
	answerStatus("throttled", "429 with Retry-After: 30", 30*time.Second, oauthError{status: http.StatusTooManyRequests, code: "temporarily_unavailable", aadsts: 90055, text: "The tenant is throttled due to too many requests."}),
	answerStatus("throttled_bare", "429 without Retry-After", 0, oauthError{status: http.StatusTooManyRequests, code: "temporarily_unavailable", aadsts: 90055, text: "The tenant is throttled due to too many requests."}),
	answerStatus("server_error", "500 without Retry-After", 0, oauthError{status: http.StatusInternalServerError, code: "server_error", aadsts: 90033, text: "A transient error has occurred. Please try again."}),
	answerStatus("unavailable", "503 without Retry-After", 0, oauthError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", aadsts: 90033, text: "A transient error has occurred. Please try again."}),
	answerStatus("unavailable_retry", "503 with Retry-After: 30", 30*time.Second, oauthError{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", aadsts: 90033, text: "A transient error has occurred. Please try again."}),
	breakLine("bad_gateway", "502 with an HTML page", func(_ *Sandbox, c call) { writePage(c.w, http.StatusBadGateway, badGateway) }),
	breakLine("gateway_timeout", "504 with an empty body", func(_ *Sandbox, c call) { c.w.WriteHeader(http.StatusGatewayTimeout) }),

	// The network between.
	breakLine("reset", "the connection is reset before an answer", func(_ *Sandbox, c call) { reset(c.w) }),
	breakLine("hang", "no answer, until the caller gives up", hang),
	spoil("slow", "the answer comes 5 s late", slow),
	breakLine("portal", "a captive portal: 200 with an HTML page", func(_ *Sandbox, c call) { writePage(c.w, http.StatusOK, portalPage) }),
	breakLine("redirect", "302 to another host", func(_ *Sandbox, c call) { redirect(c, http.StatusFound) }),
	breakLine("redirect_post", "307 to another host: a client that follows would send its secrets there", func(_ *Sandbox, c call) { redirect(c, http.StatusTemporaryRedirect) }),
	breakLine("proxy_auth", "407: the outbound proxy wants a password", func(_ *Sandbox, c call) {
		c.w.Header().Set("Proxy-Authenticate", `Negotiate`)
		writePage(c.w, http.StatusProxyAuthRequired, proxyPage)
	}),
	breakLine("empty", "200 with an empty body", func(_ *Sandbox, c call) { c.w.WriteHeader(http.StatusOK) }),
	breakLine("error_200", `200 with {"error":…}`, func(s *Sandbox, c call) {
		writeJSON(c.w, http.StatusOK, s.errorBody(c.w, oauthError{code: "server_error", aadsts: 90033, text: "A transient error has occurred. Please try again."}))
	}),
	breakLine("huge", "200 with 2 MiB of JSON", func(_ *Sandbox, c call) { huge(c.w) }),

	// Answers that are spoilt; the request itself was served.
	spoil("truncated", "the answer is cut in half and looks complete", truncate),
	spoil("cut", "the connection breaks in the middle of the answer", cut),
	spoil("lost", "the request is served (and a refresh token rotated), then the connection is reset", lose),
	spoil("no_refresh_token", "the answer has no refresh_token", omit("refresh_token")),
	spoil("no_access_token", "the answer has no access_token", omit("access_token")),
	spoil("no_expires_in", "the answer has no expires_in", omit("expires_in")),
	spoil("no_id_token", "the answer has no id_token", omit("id_token")),
	spoil("no_client_info", "the answer has no client_info", omit("client_info")),
	spoil("scope_declined", "the answer grants another scope than was asked for", declineScope),

	// Graph and EWS.
	{Scenario: Scenario{"cae", at(EndpointGraph, EndpointEWS), "401 insufficient_claims until a token is redeemed with the claims of the challenge"}, only: true, strikes: unsatisfied, act: challenge},
	{
		Scenario: Scenario{"token_rejected", at(EndpointGraph, EndpointEWS), "401 invalid_token without claims"}, only: true,
		act: func(s *Sandbox, c call) { s.rejectBearer(c.w, c.endpoint) },
	},
	{Scenario: Scenario{"ews_blocked", at(EndpointEWS), "403 with X-EWS-Policy-Reason: the tenant does not allow the application to use EWS"}, only: true, act: blockEWS},
	{Scenario: Scenario{"ews_disabled", at(EndpointEWS), "403 with X-EWS-Policy-Reason: EWS is switched off for the mailbox or the tenant"}, only: true, act: disableEWS},
}

var errBlocked = oauthError{code: "invalid_grant", suberror: "message_only", aadsts: 53003, claims: stepUp, text: "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."}
