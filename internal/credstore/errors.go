package credstore

import (
	"errors"
	"fmt"
)

// The operations named in errors.
const (
	opOpen   = "open secret store"
	opSave   = "save secret"
	opLoad   = "load secret"
	opDelete = "delete secret"
	opList   = "list secrets"
	opCheck  = "check secret store"
)

// Reason says why a store failed, for programs: the log and status.
type Reason int

// The reasons. Each has one sentence of remedy, see Remedy.
const (
	Failed         Reason = iota // the store failed in a way that has no reason of its own
	NoLogonSession               // Windows: the logon has no credential set (ERROR_NO_SUCH_LOGON_SESSION, 1312)
	TooBig                       // the record is larger than the store takes (RPC_X_BAD_STUB_DATA, 1783)
	Quota                        // the store is full (ERROR_NOT_ENOUGH_MEMORY, 8)
	DiskFull                     // the disk is full
	Locked                       // the keyring is locked and only a person could unlock it
	Unavailable                  // the store does not answer, or is not on this machine
	Permission                   // the store may not be used, or others may read it
	Busy                         // another process kept the store's lock for too long
	Corrupt                      // the record is there and damaged; matches ErrCorrupt
	InvalidID                    // the caller gave an id that no store takes: a defect of ours
)

var reasons = [...]struct{ code, remedy string }{
	Failed:         {"failed", "The secret store failed; the cause says where; a running broker tries again by itself."},
	NoLogonSession: {"no-logon-session", "This Windows logon has no credential set (a network logon such as ssh, WinRM or some scheduled tasks): start the broker from an interactive logon or as a service of the user, or set \"store: file\"."},
	TooBig:         {"too-big", "The record is larger than the secret store takes: sign in again, and if that gives the same, set \"store: file\"."},
	Quota:          {"quota", "The secret store is full: remove credentials that are no longer needed (Windows: Credential Manager in the Control Panel), or set \"store: file\"."},
	DiskFull:       {"disk-full", "The disk that holds the state directory is full: free some space; a running broker tries again by itself."},
	Locked:         {"locked", "The keyring is locked: unlock it (sign in to the desktop, or run gnome-keyring-daemon --unlock), or set \"store: file\" where nobody can."},
	Unavailable:    {"unavailable", "The secret store does not answer: start it (Linux: a Secret Service such as gnome-keyring on the session bus), or set \"store: file\"."},
	Permission:     {"permission", "The permissions of the secret store are wrong: mend them as the cause says; the broker refuses to keep secrets where others can read them."},
	Busy:           {"busy", "Another process is using the secret store for too long: end the other broker, or try again."},
	Corrupt:        {"corrupt", "The stored sign-in cannot be read: sign in again, which replaces it."},
	InvalidID:      {"invalid-id", "The broker used a record name that no store takes: this is a defect, please report it."},
}

// String is the stable code of the reason, for logs and metrics.
func (r Reason) String() string { return r.entry().code }

// Remedy is the one sentence that tells a person what to do.
func (r Reason) Remedy() string { return r.entry().remedy }

func (r Reason) entry() struct{ code, remedy string } {
	if r < 0 || int(r) >= len(reasons) {
		r = Failed
	}
	return reasons[r]
}

// Error is a failure of a store: what was being done, why it failed, and the
// cause, which never holds a secret.
type Error struct {
	Op     string // for example "save secret"
	Reason Reason
	Err    error // the cause; nil where the reason says it all
}

// Error is the operation, what to do, and the cause.
func (e *Error) Error() string {
	s := e.Op + ": " + e.Reason.Remedy()
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf is the reason in err; Failed where it has none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Failed
}

// corrupt makes the error of a record that is there and cannot be read.
func corrupt(op, format string, args ...any) error {
	return &Error{Op: op, Reason: Corrupt, Err: fmt.Errorf("%w: %w", ErrCorrupt, fmt.Errorf(format, args...))}
}
