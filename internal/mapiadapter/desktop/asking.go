package desktop

import (
	"slices"
	"strings"
)

// window is a top-level window, as far as it tells who is asked what. Its title
// is no part of it: titles are in the language of the user.
type window struct {
	Class    string
	Process  string // file name of the program that draws it
	PID      uint32
	OwnerPID uint32 // of the window that it belongs to (GW_OWNER); zero: it belongs to none
	Visible  bool   // on a screen, if there were one: not hidden, not cloaked
	Enabled  bool   // takes input: false while a modal box of the same thread is open
	Modal    bool   // the window that it belongs to takes no input
	Choice   bool   // has a combo box
}

// The classes of windows, and the programs, that mean something here. The tests
// in asking_test.go say where each is known from.
const (
	classMain   = "rctrl_renwnd32"              // Outlook's main windows, and its items
	classDialog = "#32770"                      // a dialog box of Windows
	classOffice = "NUIDialog"                   // a box of Office: sign-in, licence, privacy, security notice, and most others
	classPrompt = "Credential Dialog Xaml Host" // user name and password, PIN
)

// brokers draw the sign-in of Entra ID for any program (WAM).
var brokers = []string{"Microsoft.AAD.BrokerPlugin.exe", "AccountsControlHost.exe"}

// asked is what the windows of a session ask a person, on behalf of the Outlook
// processes. What keeps a person from all the rest comes first.
func asked(windows []window, outlook []uint32) Asking {
	if len(outlook) == 0 {
		return AskingNothing
	}
	shown := slices.DeleteFunc(slices.Clone(windows), func(w window) bool { return !w.Visible })
	ours := func(w window) bool { return slices.Contains(outlook, w.PID) }
	started := slices.ContainsFunc(shown, func(w window) bool { return ours(w) && w.Class == classMain })

	asking := AskingNothing
	for _, w := range shown {
		switch {
		case signsIn(w, outlook):
			return AskingSignIn
		case !ours(w):
		case !started && w.Class == classDialog && w.Choice:
			asking = AskingProfile
		case !started && w.Class == classOffice && asking != AskingProfile:
			asking = AskingFirst
		case asking == AskingNothing && blocks(w, started):
			asking = AskingDialog
		}
	}
	return asking
}

// signsIn reports whether the window is a sign-in. The broker draws it for any
// program of the session, and it does not say for which: all of them sign the
// same person in. The credential box serves every prompt of Windows, and counts
// where it belongs to a window of Outlook.
func signsIn(w window, outlook []uint32) bool {
	if slices.ContainsFunc(brokers, func(name string) bool { return strings.EqualFold(name, w.Process) }) {
		return true
	}
	return w.Class == classPrompt && slices.Contains(outlook, w.OwnerPID)
}

// blocks reports whether Outlook waits for an answer to this box. Once it has
// started, only a modal one counts: its reminders and its progress are dialog
// boxes too, and stand open all day.
func blocks(w window, started bool) bool {
	if !started {
		return w.Class == classDialog
	}
	return w.Modal || w.Class == classMain && !w.Enabled
}
