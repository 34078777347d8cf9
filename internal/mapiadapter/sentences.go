package mapiadapter

import (
	"fmt"
	"strings"
)

// place is who and where, for sentences.
type place struct {
	account, host, profile, target string
	ours                           string // the account that the broker runs as
}

// sentences say what is true of a phase, and the one thing that a person must
// do. Each action names the account and the host. {account}, {host}, {profile},
// {target} and {ours} are filled in.
type sentences struct{ message, action string }

const session = "Log on to {host} as {account} (RDP is fine)"

var needsUser = map[Reason]sentences{
	ReasonSignIn:       {"Outlook of {account} on {host} waits for a sign-in.", session + ", answer the sign-in that Outlook shows, and leave the session locked."},
	ReasonWrongProfile: {"Outlook of {account} on {host} runs with another profile than {profile}.", session + ", close Outlook and open it with the profile {profile}."},
	ReasonDialog:       {"Outlook of {account} on {host} shows a box that waits for an answer.", session + ", answer what Outlook shows, and leave the session locked."},
	ReasonAgent:        {"The session of {account} on {host} has no working agent.", session + " and run: broker agent"},
	ReasonAccount:      {"The account {account} is disabled, or its password has expired, as a consumer on {host} was told.", "Enable {account} or renew its password, then log on to {host} with it once."},
	ReasonOpenOutlook:  {"The mailbox access of {account} on {host} must be renewed, and the policy notify_only leaves that to a person.", session + " and open Outlook with the profile {profile}."},
	ReasonOtherSession: {"Outlook of {account} runs in another session on {host}, where the broker cannot reach it.", "Connect to the session of {account} on {host} in which Outlook runs, and close Outlook there."},
}

// notices are for the person who is in that session already.
var notices = map[Reason]string{
	ReasonSignIn:       "Outlook waits for a sign-in. Please answer it: programs on this computer need the mailbox access of {account}.",
	ReasonWrongProfile: "Please close Outlook and open it with the profile {profile}: programs on this computer need the mailbox access of {account}.",
	ReasonDialog:       "Outlook shows a box. Please answer it: programs on this computer need the mailbox access of {account}.",
	ReasonAccount:      "The account {account} is disabled, or its password has expired. Please have it enabled or renew the password, then sign in to Outlook once.",
	ReasonOpenOutlook:  "Please open Outlook with the profile {profile}: programs on this computer need the mailbox access of {account}.",
	ReasonOtherSession: "Outlook of {account} runs in another session on this computer. Please close it there.",
}

// noticeOf is what is shown in the session.
func noticeOf(why Reason, p place) string { return p.fill(notices[why]) }

var unsupported = map[Reason]sentences{
	ReasonNoOutlook:      {"Classic Outlook is not installed for {account} on {host}.", "Install classic Outlook (Microsoft 365 Apps) on {host} for {account}, or move the consumer to Microsoft Graph."},
	ReasonNewOutlook:     {"{account} on {host} uses new Outlook, which has no MAPI.", "Switch {account} on {host} back to classic Outlook (UseNewOutlook=0), or move the consumer to Microsoft Graph."},
	ReasonNoProfile:      {"{account} on {host} has no Outlook profile {profile}.", "Make the profile {profile} for {account} on {host} (Control Panel, Mail), or correct the setting mapi.{target}.profile."},
	ReasonBitness:        {"The consumer's service and Outlook of {account} on {host} have different bitness, so MAPI cannot work.", "Install Outlook for {account} on {host} in the bitness of the consumer's service, or the service in Outlook's."},
	ReasonServiceAccount: {"The consumer on {host} runs as an account that can never log on, so no Outlook can renew for it.", "Let the consumer's service on {host} run as the account {account} that has the Outlook profile, or move it to Microsoft Graph."},
	ReasonOtherAccount:   {"The consumer of {target} on {host} runs as another account than this broker, which runs as {ours} and can renew for nobody else.", "Run a broker on {host} as the consumer's own account instead of {ours}, or correct mapi.{target}.account and mapi.{target}.service."},
	ReasonElevated:       {"The agent of {account} on {host} runs with more rights than Outlook may be given, or in no session.", session + " and run: broker agent, without administrator rights."},
	ReasonLedger:         {"The ledger of {target} on {host} cannot be used, so nothing is done for {account}.", "Mend what the broker's log on {host} says of that ledger, as {account} or an administrator; the broker goes on by itself."},
	ReasonPlatform:       {"Outlook runs on Windows only, and {host} is not Windows.", "Run the broker as {account} on the Windows machine that has Outlook, not on {host}, or move the consumer to Microsoft Graph."},
}

var suspended = map[Reason]sentences{
	ReasonPaused:     {"Renewals for {account} on {host} are paused by a person.", "Run on {host}, for {account}: broker mapi resume {target}"},
	ReasonCircuit:    {"Five attempts to renew through Outlook of {account} on {host} failed, so no more are made.", session + ", open Outlook with the profile {profile} and see what it says; then run: broker mapi resume {target}"},
	ReasonUserClosed: {"A person closed the Outlook that the broker had opened for {account} on {host}, twice.", "Agree with who works as {account} on {host} that Outlook may stay open; then run: broker mapi resume {target}"},
}

var phaseSentences = map[Phase]sentences{
	Precheck:       {"The broker checks whether Outlook of {account} on {host} can renew.", ""},
	Trigger:        {"Outlook of {account} on {host} is being asked to renew.", ""},
	Observe:        {"The broker waits for proof that Outlook of {account} on {host} has renewed.", ""},
	WaitSession:    {"{account} is not logged on to {host}, so no Outlook can renew.", session + ", and leave the session locked."},
	WaitAgent:      {"{account} is logged on to {host}, and no agent there speaks to the broker.", session + " and run: broker agent"},
	Session0Broken: {"Outlook of {account} on {host} renews, and the consumer's service is still refused: its own logon cannot use what Outlook renews.", "On {host}, switch off IE Enhanced Security Configuration for {account} and restart the consumer's service; then run: broker mapi resume {target}"},
}

var freshnessMessages = map[Freshness]string{
	Fresh:   "The mailbox access of {account} on {host} is fresh.",
	Due:     "The mailbox access of {account} on {host} will be renewed soon.",
	Expired: "The mailbox access of {account} on {host} has expired.",
	Unknown: "Whether {account} on {host} has mailbox access is not known yet.",
}

var backoffMessages = map[Reason]string{ //nolint:gosec // sentences about tokens
	ReasonNetwork:     "Microsoft 365 cannot be reached from {host}",
	ReasonClock:       "The clock of {host} is wrong by more than five minutes",
	ReasonBudget:      "Outlook of {account} on {host} was started or asked as often as is allowed for now",
	ReasonDeclined:    "The person working as {account} on {host} said not now",
	ReasonStartFailed: "Outlook of {account} on {host} could not be started",
	ReasonCrashed:     "Outlook of {account} on {host} ended with an error",
	ReasonClosed:      "Outlook of {account} on {host} was closed before it had renewed",
	ReasonNoProof:     "Outlook of {account} on {host} runs and did not renew in time",
	ReasonNoNewToken:  "Outlook of {account} on {host} is connected and had nothing to renew",
	ReasonNoAnswer:    "The agent of {account} on {host} did not say what became of its work",
	ReasonBlind:       "The agent of {account} on {host} went away while proof was awaited",
}

// sentencesOf are what the API and the notices say of a view.
func sentencesOf(v View, p place) (message, action string) {
	var s sentences
	switch v.Phase {
	case Idle:
		s.message = freshnessMessages[v.Freshness]
	case NeedsUser:
		s = needsUser[v.Reason]
	case Unsupported:
		s = unsupported[v.Reason]
	case Suspended:
		s = suspended[v.Reason]
	case Backoff:
		s.message = backoffMessages[v.Reason] + fmt.Sprintf("; the next attempt is at %s.", v.Retry.Local().Format("15:04 MST"))
	default:
		s = phaseSentences[v.Phase]
	}
	return p.fill(s.message), p.fill(s.action)
}

func (p place) fill(sentence string) string {
	return strings.NewReplacer("{account}", p.account, "{host}", p.host, "{profile}", p.profile, "{target}", p.target, "{ours}", p.ours).Replace(sentence)
}
