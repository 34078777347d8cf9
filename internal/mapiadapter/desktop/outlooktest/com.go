package outlooktest

import "time"

// COM is how the stand-in answers through COM. The zero COM answers at once,
// with an empty profile name and mode 0.
type COM struct {
	Profile    string        `json:"profile"`     // NameSpace.CurrentProfileName
	Mode       int32         `json:"mode"`        // NameSpace.ExchangeConnectionMode
	LaterMode  int32         `json:"later_mode"`  // the mode once ModeAfter has passed
	ModeAfter  time.Duration `json:"mode_after"`  // zero: it stays Mode
	After      time.Duration `json:"after"`       // when it comes into the running object table
	RejectFor  time.Duration `json:"reject_for"`  // every call is rejected for this long; negative: always
	RetryLater bool          `json:"retry_later"` // rejected with RPC_E_SERVERCALL_RETRYLATER, not RPC_E_CALL_REJECTED
	Hang       string        `json:"hang"`        // the member that never returns
	Die        string        `json:"die"`         // the member in which the process ends
	Throw      string        `json:"throw"`       // the member that throws MAPI_E_FAILONEPROVIDER
	Log        string        `json:"log"`         // a file that gets the name of each member called, one a line
}

// Rejected is what the log gets for a call that was turned away.
const Rejected = "rejected"
