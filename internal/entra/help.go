package entra

import (
	"fmt"
	"net/http"

	"github.com/m365-token-broker/broker/internal/token"
)

// Sentences that several codes share.
const (
	helpSignInAgain = "Sign in again with broker login."
	helpMFA         = "The authority wants a second factor or a fresh sign-in; sign in again with broker login."
	helpPassword    = "The password has expired or must be changed; change it, then sign in again with broker login."
	helpCAE         = "Conditional Access blocked the sign-in; an administrator can find the policy in the Entra sign-in log and exclude this app or account."
	helpDevice      = "Conditional Access wants a managed or compliant device, which a device code can never show; sign in with broker login --flow browser on such a device, or have an administrator exclude this app."
	helpConsent     = "The app registration lacks consent for the wanted permissions; have an administrator grant admin consent, then sign in again."
	helpDisabledApp = "The app registration or its service principal is disabled in this tenant; have an administrator enable it."
	helpUnknownUser = "The account does not exist in this tenant; check tenant, or sign in with another account."
	helpTenant      = "The tenant was not found at this authority; check tenant and cloud in the configuration."
	helpWrongCloud  = "The account or tenant belongs to another Microsoft cloud; check cloud in the configuration."
	helpTransient   = "Entra ID has a passing problem of its own" // and again
	helpSingle      = "The app registration is for one tenant only, and the sign-in went to another; check tenant in the configuration."
	helpStartAgain  = "The code is no longer valid; start the sign-in again."
	helpScope       = "The scopes of the resource are not valid for this tenant; check resources in the configuration."
)

// codeHelp is the help text for an AADSTS number. Numbers only choose the
// sentence, never the kind. Source: Microsoft, "Microsoft Entra authentication
// and authorization error codes".
func codeHelp(code int) (string, bool) {
	switch code {
	// The person signs in again.
	case 50173, 50132, 50133:
		return "The sign-in was revoked (a new password, or an administrator's act); sign in again with broker login.", true
	case 700082, 70008:
		return "The sign-in was unused for too long and has expired; sign in again with broker login.", true
	case 70043:
		return "A sign-in frequency policy ended the sign-in, and will again on its schedule; sign in again with broker login, or have an administrator exclude this app from the policy.", true
	case 50076, 50079, 50074, 50072, 50078:
		return helpMFA, true
	case 50055, 50144:
		return helpPassword, true
	case 50058, 50089, 70000, 700084, 135010, 50199, 700020, 50126:
		return helpSignInAgain, true
	case 65001:
		return helpConsent, true
	// An administrator acts.
	case 53003, 530035, 50005:
		return helpCAE, true
	case 53000, 53001, 53002, 50097, 530032:
		return helpDevice, true
	case 53004:
		return "The account must register for multifactor authentication first; do that at https://aka.ms/mfasetup, then sign in again.", true
	case 53005:
		return "An app protection policy (Intune) blocks this app; have an administrator exclude it.", true
	case 53011:
		return "The account is blocked as risky; have an administrator dismiss the risk in Entra ID Protection.", true
	case 50057:
		return "The account is disabled; have an administrator enable it.", true
	case 50105:
		return "The account is not assigned to the app registration; have an administrator assign it, or turn off \"Assignment required\".", true
	case 50020, 50034:
		return helpUnknownUser, true
	case 90094, 90095, 650052, 650056, 650057:
		return helpConsent, true
	case 500021, 500022, 500212, 500213:
		return "A tenant restriction on the network or in the tenant blocks the sign-in; have an administrator allow this tenant.", true
	case 70001, 7000112:
		return helpDisabledApp, true
	}
	return configHelp(code)
}

// configHelp is codeHelp for what is wrong with the registration, the
// configuration, the flow or the authority.
func configHelp(code int) (string, bool) {
	switch code {
	case 7000218, 7000215, 70002:
		return "The app registration is not a public client: set \"Allow public client flows\" to Yes (isFallbackPublicClient), and list http://localhost under \"Mobile and desktop applications\", not under \"Web\".", true
	case 700016:
		return "The tenant does not know this client ID; check client_id and tenant in the configuration, or register the app in this tenant.", true
	case 700025:
		return "The app registration was given a client secret where none is used; the broker is a public client.", true
	case 90002, 90019:
		return helpTenant, true
	case 90038, 90043, 90051, 900432:
		return helpWrongCloud, true
	case 50194:
		return helpSingle, true
	case 65002:
		return "The client ID belongs to Microsoft; register an app of your own and set client_id.", true
	case 500011, 70011, 28000, 28002, 700022:
		return helpScope, true
	case 50011:
		return "The redirect address is not registered: add http://localhost under \"Mobile and desktop applications\" in the app registration.", true
	// The flow is over.
	case 65004:
		return "The person declined to consent; start the sign-in again and accept, or have an administrator grant consent.", true
	case 70018, 70019, 70020, 90119, 90120, 50134:
		return helpStartAgain, true
	// Passing.
	case codeLoop:
		return "Entra ID sees the same request again and again (AADSTS50196) and wants a pause; leave it alone for at least five minutes.", true
	case 50033, 50087, 50088, 50166, 90006, 90012, 90024, 90033, 90055, 90090, 80002, 80005:
		return helpTransient, true
	}
	return "", false
}

// sentence is the one sentence for a person: by what became of a device code,
// else by AADSTS number, else by suberror, else by status and kind.
func sentence(s step, kind token.Kind, r record, host string) string {
	if r.status == http.StatusProxyAuthRequired {
		return helpProxyAuth
	}
	if text, ok := deviceHelp(kind, r.oauth.code); ok {
		return text
	}
	code := helpfulCode(r.oauth.aadsts)
	if text, ok := codeHelp(code); ok && kind != token.KindInvalid && (kind != token.KindThrottled || code == codeLoop) {
		if text == helpTransient {
			text += again(s)
		}
		return text
	}
	if text, ok := subErrorHelp(r.oauth.subError); ok {
		return text
	}
	switch kind {
	case token.KindThrottled:
		return "Entra ID wants fewer requests" + again(s)
	case token.KindUnavailable:
		return fmt.Sprintf("%s has a problem of its own (HTTP %d)%s", host, r.status, again(s))
	case token.KindInvalid:
		return invalidHelp(r, host)
	case token.KindDeclined:
		return helpDeclined
	case token.KindExpired:
		return helpStartAgain
	case token.KindPolicyBlocked:
		return helpCAE
	case token.KindConfiguration:
		return configurationHelp(r.oauth.code)
	default:
		return helpSignInAgain
	}
}

// again ends a sentence about something that passes. Only a renewal is tried
// again by the broker, and only by one that stays: a command that finds none
// runs one for a moment. A device code goes on being polled, so nobody needs to
// do a thing; where it expires meanwhile, the sentence follows one that says so.
func again(s step) string {
	switch s {
	case stepRedeem:
		return "; try again later (a running broker does so by itself)."
	case stepPoll:
		return "."
	case stepBrowser, stepCode:
		return "; start the sign-in again."
	default:
		return "; try again later."
	}
}

// deviceHelp is the help text for the last word on a device code, whatever
// number comes with it.
func deviceHelp(kind token.Kind, code string) (string, bool) {
	switch {
	case kind == token.KindExpired && (code == "expired_token" || code == "code_expired"):
		return helpExpired, true
	case kind == token.KindDeclined && code == "authorization_declined":
		return helpDeclined, true
	}
	return "", false
}

// subErrorHelp is the help text for a suberror.
func subErrorHelp(subError string) (string, bool) {
	switch subError {
	case "bad_token", "token_expired", "client_mismatch":
		return "The stored sign-in is no longer valid; sign in again with broker login.", true
	case "basic_action":
		return helpMFA, true
	case "consent_required":
		return helpConsent, true
	case "user_password_expired":
		return helpPassword, true
	case "message_only":
		return helpCAE, true
	case "additional_action", "device_authentication_failed":
		return helpDevice, true
	case "protection_policy_required":
		return "An app protection policy (Intune) blocks this app; have an administrator exclude it.", true
	}
	return "", false
}

// configurationHelp is the help text for an OAuth error that is ours to mend.
func configurationHelp(code string) string {
	switch code {
	case "invalid_client":
		return "The authority does not accept this app as a public client; check client_id, and \"Allow public client flows\" in the app registration."
	case "unauthorized_client":
		return "The app registration may not use this flow in this tenant; check client_id and tenant, and \"Allow public client flows\"."
	case "invalid_scope", "invalid_resource", "invalid_target":
		return helpScope
	case "unsupported_grant_type", "unsupported_response_type":
		return "The authority does not support this sign-in flow; try the other one (broker login --flow device or --flow browser)."
	case "invalid_tenant", "invalid_instance":
		return helpTenant
	}
	return "The authority calls the request invalid; check tenant, client_id, authority and the scopes in the configuration."
}

// invalidHelp is the help text for an answer that is not the authority's, or
// cannot be understood.
func invalidHelp(r record, host string) string {
	if r.understood {
		return fmt.Sprintf("%s answered with an error that the broker does not know (HTTP %d); the sign-in log of Entra ID has the request under its correlation ID.", host, r.status)
	}
	if r.status == http.StatusNotFound {
		return fmt.Sprintf("%s has no such page (HTTP 404); check authority and tenant in the configuration.", host)
	}
	return fmt.Sprintf("Something answered in place of %s (HTTP %d, no OAuth answer): often a captive portal or a filtering proxy; open a web page on this machine to see, or set proxy_url.", host, r.status)
}

// helpProxyAuth is for HTTP 407 from the proxy, whichever way it arrives.
const helpProxyAuth = "The proxy wants a sign-in of its own (HTTP 407); put user and password into proxy_url, or have the login hosts allowed without one."

// helpExpired is for a device code that nobody used, told from what a person
// may have seen in the browser: a policy that blocks device codes shows itself
// there only.
const helpExpired = "The code expired before the sign-in was finished; start the sign-in again. If the page said \"You don't have access to this\", Conditional Access blocks the device code flow (AADSTS53003): use broker login --flow browser, or have an administrator exclude this app from that policy."

// helpDeclined is for a person who said no.
const helpDeclined = "The person declined the sign-in; start it again when they are ready."

// helpNoRefresh is for a sign-in whose answer holds no refresh token.
const helpNoRefresh = "The sign-in worked, but the authority gave no refresh token, so it would end within the hour: allow the scope offline_access for this app registration, have it consented, and sign in again."
