package telemetry

// This file is the list of every name that leaves the process in telemetry.
// docs/telemetry.md shows the same list as tables; a test compares both in both
// directions. A span attribute that is not in attributeNames is removed before
// export, whoever set it (see filter.go).

// serviceName is the default of OTEL_SERVICE_NAME.
const serviceName = "m365-token-broker"

// scopeName is the instrumentation scope of all our spans, metrics and logs.
const scopeName = "github.com/m365-token-broker/broker"

// Names of spans. Server spans are named by their route ("GET /v1/token"),
// client spans by their method ("POST").
const (
	SpanTokenGet        = "token.get"         // one consumer asks for one token
	SpanTokenRefresh    = "token.refresh"     // one refresh token is redeemed upstream
	SpanEntraRedeem     = "entra.redeem"      // the token request itself
	SpanEntraDeviceCode = "entra.device_code" // a device code is asked for
	SpanCredstoreSave   = "credstore.save"    // a secret is written to the store
	SpanCredstoreLoad   = "credstore.load"    // a secret is read from the store
	SpanSignIn          = "signin"            // a person signs in, from start to end
	SpanMAPIRenewal     = "mapi.renewal"      // one attempt to get Outlook to renew
	SpanMAPIPrecheck    = "precheck"          // its parts: may, and can, Outlook be asked to renew?
	SpanMAPITrigger     = "trigger"           // one action on Outlook
	SpanMAPIObserve     = "observe"           // waiting for proof
	SpanMAPIProbe       = "probe"             // the profile is opened by MAPI, as proof
)

// Names of metrics. Units are in metricTable.
const (
	MetricTokenRequests   = "broker.token.requests"         //nolint:gosec // a name, no credential
	MetricTokenDuration   = "broker.token.request.duration" //nolint:gosec // a name, no credential
	MetricTokenRefreshes  = "broker.token.refreshes"        //nolint:gosec // a name, no credential
	MetricTokenExpiresIn  = "broker.token.expires_in"       //nolint:gosec // a name, no credential
	MetricAccountState    = "broker.account.state"
	MetricRefreshTokenAge = "broker.refresh_token.age"
	MetricPredictedEnd    = "broker.account.predicted_end"
	MetricGateRefusals    = "broker.gate.refusals"
	MetricMAPIState       = "broker.mapi.state"
	MetricMAPIFreshness   = "broker.mapi.freshness"
	MetricMAPITriggers    = "broker.mapi.triggers"
	MetricMAPIProofAge    = "broker.mapi.proof.age"
	MetricCredstoreErrors = "broker.credstore.errors"
	MetricAuditLost       = "broker.audit.lost"
	MetricEWSCalls        = "broker.ews.calls"
	MetricProxyRequests   = "broker.proxy.requests"
	MetricProxyDuration   = "broker.proxy.request.duration"
)

// Names of attributes that we set ourselves.
const (
	AttrConsumer     = "broker.consumer"            // configured name of the consumer
	AttrResource     = "broker.resource"            // configured name of the resource
	AttrAccountHash  = "broker.account.hash"        // see Telemetry.AccountHash
	AttrAccountState = "broker.account.state"       // ok, degraded, sign_in_required
	AttrEndReason    = "broker.account.end_reason"  // idle, sign_in_frequency
	AttrSource       = "broker.token.source"        // cache, refresh, none
	AttrWarning      = "broker.token.warning"       // token.Kind of a renewal that failed while the token still holds
	AttrOutcome      = "broker.outcome"             // ok, or a token.Kind
	AttrGateReason   = "broker.gate.reason"         // which rule of the gate refused
	AttrOperation    = "broker.credstore.operation" // save, load, delete, list
	AttrReason       = "broker.credstore.reason"    // why the store failed
	AttrFlow         = "broker.signin.flow"         // device, browser
	AttrSignInState  = "broker.signin.state"        // how the sign-in ended
	AttrEWSOperation = "broker.ews.operation"       // one of Microsoft's names, or other
	AttrMAPITarget   = "broker.mapi.target"         // configured name of the Outlook target
	AttrMAPIPhase    = "broker.mapi.phase"          // where its machine stands
	AttrMAPIFresh    = "broker.mapi.freshness"      // fresh, due, expired, unknown
	AttrMAPICause    = "broker.mapi.cause"          // why an attempt was made
	AttrMAPIAction   = "broker.mapi.action"         // start, send, observe
	AttrMAPIResult   = "broker.mapi.result"         // the phase it led to
	AttrMAPIReason   = "broker.mapi.reason"         // why
	AttrMAPIProof    = "broker.mapi.proof"          // evidence, probe, consumer
	AttrMAPIHResult  = "broker.mapi.hresult"        // MAPI error, 0x8004011D
	AttrMAPISession  = "broker.mapi.session"        // active, disconnected, other
	AttrMAPILocked   = "broker.mapi.session.locked" // true, false
	AttrEntraError   = "broker.entra.error"         // RFC 6749 section 5.2
	AttrEntraSub     = "broker.entra.suberror"
	AttrEntraAADSTS  = "broker.entra.aadsts"
	AttrEntraCorrID  = "broker.entra.correlation_id" // client-request-id
	AttrEntraReqID   = "broker.entra.request_id"     // x-ms-request-id
	AttrErrorType    = "error.type"                  // token.Kind, HTTP status or Go type; never a text
	AttrRoute        = "http.route"
	AttrHTTPStatus   = "http.response.status_code"
	AttrURLFull      = "url.full" // scheme, host and path only
)

// spanNames are the spans with a fixed name.
var spanNames = []string{
	SpanTokenGet, SpanTokenRefresh, SpanEntraRedeem, SpanEntraDeviceCode,
	SpanCredstoreSave, SpanCredstoreLoad, SpanSignIn,
	SpanMAPIRenewal, SpanMAPIPrecheck, SpanMAPITrigger, SpanMAPIObserve, SpanMAPIProbe,
}

// attributeNames is every attribute of a span or metric that may leave the
// process. Those of otelhttp that hold what a caller wrote (url.path,
// user_agent.original, client.address) are left out on purpose.
var attributeNames = []string{
	AttrConsumer, AttrResource, AttrAccountHash, AttrAccountState, AttrEndReason, AttrSource, AttrWarning,
	AttrOutcome, AttrGateReason, AttrOperation, AttrReason, AttrFlow, AttrSignInState, AttrEWSOperation,
	AttrMAPITarget, AttrMAPIPhase, AttrMAPIFresh, AttrMAPICause, AttrMAPIAction, AttrMAPIResult, AttrMAPIReason,
	AttrMAPIProof, AttrMAPIHResult, AttrMAPISession, AttrMAPILocked,
	AttrEntraError, AttrEntraSub, AttrEntraAADSTS, AttrEntraCorrID, AttrEntraReqID,
	AttrErrorType, AttrRoute, AttrHTTPStatus, AttrURLFull,
	"http.request.method", "http.request.body.size", "http.response.body.size",
	"server.address", "server.port", "url.scheme", "network.protocol.version",
}

// metric is one row of the table of metrics.
type metricName struct {
	name, unit, about string
	attributes        []string
}

// metricTable is every metric of ours, in the order of the contract.
var metricTable = []metricName{
	{MetricTokenRequests, "{request}", "Token requests of consumers.", []string{AttrConsumer, AttrResource, AttrSource, AttrOutcome}},
	{MetricTokenDuration, "s", "Time a consumer's token request took inside the broker.", []string{AttrConsumer, AttrResource, AttrSource, AttrOutcome}},
	{MetricTokenRefreshes, "{refresh}", "Refresh tokens redeemed upstream.", []string{AttrResource, AttrOutcome}},
	{MetricTokenExpiresIn, "s", "Time until a cached access token expires; negative once it has.", []string{AttrAccountHash, AttrResource}},
	{MetricAccountState, "{account}", "1 for the state an account is in, 0 for the others.", []string{AttrAccountHash, AttrAccountState}},
	{MetricRefreshTokenAge, "s", "Time since an account's refresh token arrived.", []string{AttrAccountHash}},
	{MetricPredictedEnd, "s", "Time until an account's sign-in ends by itself, as far as is known; negative once that is past.", []string{AttrAccountHash, AttrEndReason}},
	{MetricGateRefusals, "{request}", "Requests the gate refused.", []string{AttrGateReason}},
	{MetricMAPIState, "{target}", "1 for the phase an Outlook target is in, 0 for the others.", []string{AttrMAPITarget, AttrMAPIPhase}},
	{MetricMAPIFreshness, "{target}", "1 for what is known of an Outlook target's access, 0 for the others.", []string{AttrMAPITarget, AttrMAPIFresh}},
	{MetricMAPITriggers, "{trigger}", "Attempts to get Outlook to renew.", []string{AttrMAPITarget, AttrMAPIAction, AttrMAPIResult, AttrMAPIReason}},
	{MetricMAPIProofAge, "s", "Time since an Outlook target's access was proved.", []string{AttrMAPITarget}},
	{MetricCredstoreErrors, "{error}", "Failed operations of the credential store.", []string{AttrOperation, AttrReason}},
	{MetricAuditLost, "{line}", "Lines of the audit log that could not be written.", nil},
	{MetricEWSCalls, "{call}", "Calls of Exchange Web Services through the proxy.", []string{AttrConsumer, AttrEWSOperation}},
	{MetricProxyRequests, "{request}", "Requests of consumers through the proxy.", []string{AttrConsumer, AttrResource, AttrHTTPStatus, AttrOutcome}},
	{MetricProxyDuration, "s", "Time until the answer to a request through the proxy began.", []string{AttrConsumer, AttrResource, AttrHTTPStatus, AttrOutcome}},
}

// describe finds a metric's row.
func describe(name string) metricName {
	for _, m := range metricTable {
		if m.name == name {
			return m
		}
	}
	return metricName{name: name}
}
