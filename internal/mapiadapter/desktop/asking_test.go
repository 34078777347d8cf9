package desktop

import "testing"

const (
	ourOutlook = 100
	ourBroker  = 200
	somebody   = 300
)

var (
	mainWindow = window{Class: "rctrl_renwnd32", Process: "OUTLOOK.EXE", PID: ourOutlook, Visible: true, Enabled: true}
	blocked    = window{Class: "rctrl_renwnd32", Process: "OUTLOOK.EXE", PID: ourOutlook, Visible: true}
	reminders  = window{Class: "#32770", Process: "OUTLOOK.EXE", PID: ourOutlook, Visible: true, Enabled: true}
	signIn     = window{Class: "Windows.UI.Core.CoreWindow", Process: "Microsoft.AAD.BrokerPlugin.exe", PID: ourBroker, Visible: true, Enabled: true}
)

func box(class string, change ...func(*window)) window {
	w := window{Class: class, Process: "OUTLOOK.EXE", PID: ourOutlook, Visible: true, Enabled: true}
	for _, c := range change {
		c(&w)
	}
	return w
}

func modal(w *window)  { w.Modal, w.OwnerPID = true, ourOutlook }
func choice(w *window) { w.Choice = true }
func hidden(w *window) { w.Visible = false }

func credential(owner uint32) window {
	return window{
		Class: "Credential Dialog Xaml Host", Process: "CredentialUIBroker.exe", PID: somebody,
		OwnerPID: owner, Visible: true, Enabled: true,
	}
}

// Each row says what it rests on. Nobody has held the unproven ones against a
// Windows with Microsoft 365; the measured ones are other people's, from public
// programs that work with these windows.
func TestAsked(t *testing.T) {
	for _, c := range []struct {
		name    string
		windows []window
		want    Asking
	}{
		// Measured: the class of Outlook's main window and of its open items
		// (dozens of public scripts and programs).
		{"nothing but Outlook", []window{mainWindow, mainWindow}, AskingNothing},
		{"no window at all", nil, AskingNothing},
		// Measured: the splash of every Office program.
		{"the splash", []window{box("MsoSplash")}, AskingNothing},

		// Documented: the program (Microsoft's list of what a virus scanner must
		// let through for sign-in). Unproven: that each window of it that is on
		// the screen is a sign-in, and its class.
		{"sign-in of Windows", []window{mainWindow, signIn}, AskingSignIn},
		{"sign-in before the main window", []window{signIn}, AskingSignIn},
		// Unproven: the frame that Windows draws round such a program, here.
		{"sign-in in a frame", []window{mainWindow, {
			Class: "ApplicationFrameWindow", Process: "microsoft.aad.brokerplugin.exe", PID: somebody, Visible: true,
		}}, AskingSignIn},
		// Measured: the program of "choose an account". Unproven: its windows.
		{"choose an account", []window{mainWindow, {
			Class: "Windows.UI.Core.CoreWindow", Process: "AccountsControlHost.exe", PID: somebody, Visible: true,
		}}, AskingSignIn},
		// Measured: a sleeping program of that kind keeps a cloaked window.
		{"a broker that sleeps", []window{mainWindow, {
			Class: signIn.Class, Process: signIn.Process, PID: ourBroker,
		}}, AskingNothing},
		// Decided: it signs in the same person, whoever asked for it.
		{"sign-in for somebody else", []window{mainWindow, {
			Class: signIn.Class, Process: signIn.Process, PID: ourBroker, OwnerPID: somebody, Visible: true,
		}}, AskingSignIn},
		// Measured: the class, its program, and that its owner is a window of who
		// asked; the same class is the prompt of UAC, and of password managers.
		{"credentials for Outlook", []window{mainWindow, credential(ourOutlook)}, AskingSignIn},
		{"credentials for somebody else", []window{mainWindow, credential(somebody)}, AskingNothing},
		{"a prompt of UAC", []window{mainWindow, credential(0)}, AskingNothing},

		// Measured: a box of this class is all that an Outlook without an account
		// shows. Unproven: that before the main window there is no other.
		{"first run", []window{box("NUIDialog")}, AskingFirst},
		// Measured: sign-in, licence and privacy notice, and Outlook's security
		// notice are all of this class and take the input from the main window.
		// There is no telling them apart without their text.
		{"a box of Office", []window{blocked, box("NUIDialog", modal)}, AskingDialog},
		// Unproven.
		{"a box of Office beside the main window", []window{mainWindow, box("NUIDialog")}, AskingNothing},

		// Unproven: the profile chooser has a combo box, the questions before it
		// ("start in safe mode?", "cannot open the folders") have none.
		{"which profile", []window{box("#32770", choice)}, AskingProfile},
		{"which profile, over the splash", []window{box("MsoSplash"), box("#32770", choice, modal)}, AskingProfile},
		{"which profile, and another box", []window{box("#32770"), box("#32770", choice), box("#32770")}, AskingProfile},
		{"which profile, under a box of Office", []window{box("#32770", choice), box("NUIDialog")}, AskingProfile},
		{"start in safe mode?", []window{box("#32770")}, AskingDialog},
		{"a box that is not on the screen", []window{box("#32770", choice, hidden)}, AskingNothing},

		// Documented: a modal box takes the input from the window it belongs to.
		{"a modal box", []window{mainWindow, box("#32770", modal)}, AskingDialog},
		{"a modal box with a list of profiles", []window{mainWindow, box("#32770", modal, choice)}, AskingDialog},
		{"a modal box of a class that nobody knows", []window{blocked, box("bosa_sdm_Mso96")}, AskingDialog},
		// Unproven: reminders, and the progress of send and receive, are dialog
		// boxes that leave the main window its input.
		{"reminders", []window{mainWindow, reminders}, AskingNothing},

		{"a box of somebody else", []window{{Class: "#32770", PID: somebody, Visible: true, Modal: true}}, AskingNothing},
		{"an Outlook of somebody else has started", []window{
			{Class: "rctrl_renwnd32", PID: somebody, Visible: true, Enabled: true}, box("#32770", choice),
		}, AskingProfile},
		{"sign-in and a modal box", []window{blocked, box("NUIDialog", modal), signIn}, AskingSignIn},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := asked(c.windows, []uint32{ourOutlook}); got != c.want {
				t.Errorf("asks for %q, want %q", got, c.want)
			}
		})
	}
	if got := asked([]window{signIn}, nil); got != AskingNothing {
		t.Errorf("without Outlook it asks for %q, want nothing", got)
	}
}
