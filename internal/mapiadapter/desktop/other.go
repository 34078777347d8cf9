//go:build !windows

package desktop

import "context"

// New is the desktop of this system: there is none, as Outlook runs on Windows
// only. The error is a *Refusal.
func New(Config) (Desktop, error) { return nil, notHere() }

// Here is where this process runs; an error on this system.
func Here() (Where, error) { return Where{}, notHere() }

// Sessions are the sessions of an account; an error on this system.
func Sessions(context.Context, string) ([]Session, error) { return nil, notHere() }

// StartInSession starts this program in the session of an account; an error on
// this system.
func StartInSession(context.Context, string, string, []string) error { return notHere() }

func notHere() error {
	return &Refusal{
		Reason: RefusedPlatform,
		Detail: "Outlook runs on Windows only: run the broker on the Windows machine where the MAPI service and its Outlook profile are.",
	}
}
