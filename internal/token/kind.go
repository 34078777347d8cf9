package token

// Kind says what went wrong, for programs: every error that leaves a package
// border has one. The list is closed; internal/httpapi holds the one table from
// Kind to HTTP status.
type Kind int

// The kinds of the public contract.
const (
	KindInternal        Kind = iota // a defect of ours
	KindUnauthenticated             // the caller is not known
	KindDenied                      // the caller may not have this
	KindWrongProcess                // the key is right, but not the process that sent it
	KindInvalidRequest              // the request is wrong
	KindUnknownResource             // no such resource is configured
	KindUnknownAccount              // no such account
	KindNotFound                    // no such thing (a sign-in, a consumer)
	KindConflict                    // it exists already, or is in the wrong state
	KindSignInRequired              // a person must sign in
	KindSignInPending               // a sign-in is running
	KindDeclined                    // the person declined the sign-in
	KindExpired                     // the sign-in was not finished in time
	KindCancelled                   // somebody cancelled the sign-in
	KindPolicyBlocked               // an administrator must act
	KindConfiguration               // our registration or configuration is wrong
	KindThrottled                   // the authority told us to slow down
	KindUnavailable                 // the authority cannot be reached
	KindInvalid                     // the authority's answer cannot be understood
	KindTimeout                     // the authority is too slow
	KindRateLimited                 // the caller is too fast
	KindUnsupported                 // no token exists for this
	KindStore                       // the secret store failed
	KindMAPIBackoff                 // an Outlook target: an attempt failed, the next one comes by itself
	KindMAPINoSession               // an Outlook target: nobody is logged on, or no agent is there
	KindMAPIUserAction              // an Outlook target: a person must act in the session
	KindMAPIUnsupported             // an Outlook target: it cannot work here
	KindMAPISuspended               // an Outlook target: no attempts until an operator says so
)

var kindCodes = [...]string{
	KindInternal:        "internal",
	KindUnauthenticated: "unauthenticated",
	KindDenied:          "denied",
	KindWrongProcess:    "wrong-process",
	KindInvalidRequest:  "invalid-request",
	KindUnknownResource: "unknown-resource",
	KindUnknownAccount:  "unknown-account",
	KindNotFound:        "not-found",
	KindConflict:        "conflict",
	KindSignInRequired:  "sign-in-required",
	KindSignInPending:   "sign-in-pending",
	KindDeclined:        "sign-in-declined",
	KindExpired:         "sign-in-expired",
	KindCancelled:       "sign-in-cancelled",
	KindPolicyBlocked:   "policy-blocked",
	KindConfiguration:   "configuration",
	KindThrottled:       "throttled",
	KindUnavailable:     "upstream-unavailable",
	KindInvalid:         "upstream-invalid",
	KindTimeout:         "upstream-timeout",
	KindRateLimited:     "rate-limited",
	KindUnsupported:     "unsupported",
	KindStore:           "store-unavailable",
	KindMAPIBackoff:     "mapi-backoff",
	KindMAPINoSession:   "mapi-no-session",
	KindMAPIUserAction:  "mapi-user-action-required",
	KindMAPIUnsupported: "mapi-unsupported",
	KindMAPISuspended:   "mapi-suspended",
}

// Code is the stable name of the kind in problem documents, logs and metrics.
func (k Kind) Code() string {
	if k < 0 || int(k) >= len(kindCodes) {
		return kindCodes[KindInternal]
	}
	return kindCodes[k]
}

// String is Code.
func (k Kind) String() string { return k.Code() }

// Kinds lists every kind, for tables that must be complete.
func Kinds() []Kind {
	all := make([]Kind, len(kindCodes))
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// Retryable reports whether the same request may succeed later with nobody
// doing anything.
func (k Kind) Retryable() bool {
	switch k {
	case KindThrottled, KindUnavailable, KindInvalid, KindTimeout, KindRateLimited, KindSignInPending, KindMAPIBackoff:
		return true
	default:
		return false
	}
}

// UserAction is who must act before the request can succeed: "sign-in",
// "contact-admin" or "none". For an Outlook target "sign-in" is not broker login:
// a person must act in the Windows session of the target's account.
func (k Kind) UserAction() string {
	switch k {
	case KindSignInRequired, KindSignInPending, KindDeclined, KindExpired, KindCancelled, KindMAPINoSession, KindMAPIUserAction:
		return "sign-in"
	case KindPolicyBlocked, KindConfiguration, KindMAPIUnsupported, KindMAPISuspended:
		return "contact-admin"
	default:
		return "none"
	}
}
