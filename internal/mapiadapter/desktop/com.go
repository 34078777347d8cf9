package desktop

// CallError says that Outlook did not answer a call through COM.
type CallError struct {
	Failure string // see Failure…
	HResult uint32 // what COM said; zero: nothing
}

// Error is one sentence that says what to do.
func (e *CallError) Error() string {
	switch e.Failure {
	case FailureBusy:
		return "Outlook is busy or shows a dialog: answer what it asks, then try again."
	case FailureAbsent:
		return "Outlook cannot be reached: wait until it has started, and start it without administrator rights."
	case FailureGone:
		return "Outlook ended while it was asked: try again when it runs."
	case FailureNoAnswer:
		return "Outlook does not answer: look at its window, and restart it if it hangs."
	}
	return "Outlook refused the call: look at its window, and restart it if that goes on."
}

// The HRESULTs that tell failures apart. Source: winerror.h, and for what Outlook
// does with the two rejections Microsoft's "Rude Operator" (P. Creehan, 2010).
const (
	codeUnavailable  = 0x800401E3 // MK_E_UNAVAILABLE: not in the running object table
	codeRejected     = 0x80010001 // RPC_E_CALL_REJECTED: a dialog is open
	codeRetryLater   = 0x8001010A // RPC_E_SERVERCALL_RETRYLATER: add-ins are being loaded, or a menu is open
	codeServerDied   = 0x80010007 // RPC_E_SERVER_DIED
	codeDidNotRun    = 0x80010012 // RPC_E_SERVER_DIED_DNE
	codeDisconnected = 0x80010108 // RPC_E_DISCONNECTED
	codeNotConnected = 0x800401FD // CO_E_OBJNOTCONNECTED
	codeNoServer     = 0x800706BA // RPC_S_SERVER_UNAVAILABLE
	codeCallFailed   = 0x800706BE // RPC_S_CALL_FAILED
)

// isRejection reports whether Outlook refused to look at the call just now. The
// call did not run, so that it may be made again.
func isRejection(code uint32) bool { return code == codeRejected || code == codeRetryLater }

// failureOf is the stable word for an HRESULT.
func failureOf(code uint32) string {
	switch code {
	case codeUnavailable:
		return FailureAbsent
	case codeServerDied, codeDidNotRun, codeDisconnected, codeNotConnected, codeNoServer, codeCallFailed:
		return FailureGone
	}
	if isRejection(code) {
		return FailureBusy
	}
	return FailureOther
}
