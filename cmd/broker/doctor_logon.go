package main

import (
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/httpapi"
)

// This file looks at how the broker's process was logged on. On Windows that
// decides whether there is a Credential Manager, and whether Outlook can be
// touched.

// logon is what is known of a process's logon; the zero logon is of a system
// where it does not matter.
type logon struct {
	groups   []string // the well-known SIDs of its token
	user     string   // its SID; empty: not Windows
	elevated bool
	err      error
}

// The SIDs that say how a token came to be (Windows, "Well-known SIDs").
const (
	sidNetwork     = "S-1-5-2"
	sidBatch       = "S-1-5-3"
	sidInteractive = "S-1-5-4"
	sidService     = "S-1-5-6"
	sidSystem      = "S-1-5-18"
	sidLocalSvc    = "S-1-5-19"
	sidNetworkSvc  = "S-1-5-20"
	sidVirtual     = "S-1-5-80-" // the virtual account of a service begins like that
)

// logonChecks say what the logon is good for, with this store, and with Outlook
// targets or without.
func logonChecks(l logon, store credstore.Kind, outlook bool) []check {
	switch {
	case l.err != nil:
		return []check{{Name: nameLogon, Result: resultWarning, Text: "It cannot be found out how this process was logged on (" + l.err.Error() + ").", Remedy: "See what is said of the store."}}
	case l.user == "":
		return skipped("On this system the kind of logon does not matter.", nameLogon)
	}
	var all []check
	add := func(r httpapi.DoctorCheckResult, text, remedy string) {
		all = append(all, check{Name: nameLogon, Result: r, Text: text, Remedy: remedy})
	}
	if slices.Contains(l.groups, sidNetwork) && store == credstore.Wincred {
		add(resultProblem, "The broker runs in a network logon (ssh, WinRM, some scheduled tasks), which has no Credential Manager (error 1312).",
			"Start the broker from an interactive logon or as the service, or set store: file.")
	}
	if slices.Contains(l.groups, sidBatch) && store == credstore.Wincred {
		add(resultWarning, "The broker runs in a batch logon (a scheduled task), whose Credential Manager is there only where the task keeps a password.",
			`Let the task run only when the user is logged on, or store its password, not "Do not store password"; or run the broker as the service.`)
	}
	if isServiceAccount(l.user) && outlook {
		add(resultProblem, "The broker runs as "+wellKnown(l.user)+", which has no mailbox, and Outlook targets are configured.",
			"Run the service under the mailbox account, with broker agent in that account's session.")
	}
	if l.elevated && outlook {
		add(resultWarning, "The broker runs with administrator rights, so that it cannot reach an Outlook that has none.",
			"Start it without administrator rights, or let broker agent touch Outlook: broker serve --agent separate")
	}
	if len(all) == 0 {
		add(resultOK, "The broker runs in "+logonKind(l)+", which has all that it needs.", "")
	}
	return all
}

func isServiceAccount(sid string) bool {
	return strings.HasPrefix(sid, sidVirtual) || sid == sidSystem || sid == sidLocalSvc || sid == sidNetworkSvc
}

func wellKnown(sid string) string {
	switch {
	case strings.HasPrefix(sid, sidVirtual):
		return "the service's own virtual account"
	case sid == sidSystem:
		return "LocalSystem"
	case sid == sidLocalSvc:
		return "LocalService"
	default:
		return "NetworkService"
	}
}

// logonKind is how the token came to be.
func logonKind(l logon) string {
	switch {
	case slices.Contains(l.groups, sidService) || isServiceAccount(l.user):
		return "a service logon"
	case slices.Contains(l.groups, sidInteractive):
		return "an interactive logon"
	case slices.Contains(l.groups, sidNetwork):
		return "a network logon"
	case slices.Contains(l.groups, sidBatch):
		return "a batch logon"
	default:
		return "a logon of another kind"
	}
}
