package mapiadapter

import (
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// somewhere is a place of which each part can be told from the others.
var somewhere = place{account: `DOM\svc`, host: "HOST7", profile: "My Profile", target: "crm", ours: `DOM\broker`}

// occurring are the reasons that each phase can have, none included.
var occurring = map[Phase][]Reason{
	Idle:           {ReasonNone, ReasonNoNewToken},
	Precheck:       {ReasonNone},
	Trigger:        {ReasonNone},
	Observe:        {ReasonNone},
	NeedsUser:      {ReasonSignIn, ReasonWrongProfile, ReasonDialog, ReasonAgent, ReasonAccount, ReasonOpenOutlook, ReasonOtherSession},
	WaitSession:    {ReasonNone},
	WaitAgent:      {ReasonNone},
	Backoff:        {ReasonNetwork, ReasonClock, ReasonBudget, ReasonDeclined, ReasonStartFailed, ReasonCrashed, ReasonClosed, ReasonNoProof, ReasonNoNewToken, ReasonNoAnswer, ReasonBlind},
	Suspended:      {ReasonPaused, ReasonCircuit, ReasonUserClosed},
	Unsupported:    {ReasonNoOutlook, ReasonNewOutlook, ReasonNoProfile, ReasonBitness, ReasonServiceAccount, ReasonOtherAccount, ReasonElevated, ReasonPlatform, ReasonLedger},
	Session0Broken: {ReasonServiceContext},
}

func sentence(t *testing.T, what, s string) {
	t.Helper()
	if s == "" || strings.ContainsAny(s, "{}") || strings.Contains(s, "  ") || strings.Contains(s, "%") || s[:1] != strings.ToUpper(s[:1]) {
		t.Errorf("%s: no sentence for a person: %q", what, s)
	}
}

// Whatever can be is said in a sentence; and where somebody can do something, in
// one more, which names who and where.
func TestSentences(t *testing.T) {
	said := map[Reason]bool{ReasonNone: true}
	for _, phase := range Phases() {
		if len(occurring[phase]) == 0 {
			t.Errorf("the phase %s is not looked at", phase)
		}
		for _, why := range occurring[phase] {
			said[why] = true
			for _, freshness := range FreshnessValues() {
				message, action := sentencesOf(View{Phase: phase, Reason: why, Freshness: freshness, Retry: noon}, somewhere)
				what := string(phase) + "(" + string(why) + ")"
				sentence(t, what, message)
				if !strings.HasSuffix(message, ".") || !strings.Contains(message, "HOST7") {
					t.Errorf("%s: the message %q", what, message)
				}
				switch phase {
				case Idle, Precheck, Trigger, Observe, Backoff:
					if action != "" {
						t.Errorf("%s: somebody is told to do something: %q", what, action)
					}
					continue
				default: // a person can do something
				}
				sentence(t, what, action)
				account := strings.Contains(action, somewhere.account) || why == ReasonOtherAccount && strings.Contains(action, somewhere.ours)
				if !account || !strings.Contains(action, "HOST7") {
					t.Errorf("%s: the action names not both account and host: %q", what, action)
				}
			}
		}
	}
	for _, why := range constants(t, "Reason") {
		if !said[Reason(why)] {
			t.Errorf("the reason %s has no sentence", why)
		}
	}
}

// Who is in the session is not told to log on to it.
func TestNotices(t *testing.T) {
	for _, why := range occurring[NeedsUser] {
		text := noticeOf(why, somewhere)
		if why == ReasonAgent { // there is nobody to show it
			continue
		}
		sentence(t, string(why), text)
		if strings.Contains(text, "Log on") || strings.Contains(text, "HOST7") || len(text) > 250 {
			t.Errorf("%s: %q", why, text)
		}
	}
}

func TestRetryIsSaidInLocalTime(t *testing.T) {
	retry := time.Date(2026, 1, 2, 12, 0, 0, 0, time.FixedZone("", 7200)) // as it comes from the ledger
	message, _ := sentencesOf(View{Phase: Backoff, Reason: ReasonNetwork, Retry: retry}, somewhere)
	if want := retry.Local().Format("15:04 MST"); !strings.Contains(message, want) {
		t.Errorf("%q does not say %s", message, want)
	}
}

// Every warning at once: each is a sentence that names account and host.
func TestWarningsAreSentences(t *testing.T) {
	target := Target{Name: "crm", Profile: "My Profile", Policy: NotifyOnly, Service: "Gone"}
	s := NewState(noon)
	s.ProbeUnusable, s.Starts = true, []time.Time{noon.Add(-4 * hour), noon.Add(-3 * hour), noon.Add(-2 * hour), noon.Add(-hour)}
	f := desktop.Facts{Processes: []desktop.Process{{Product: desktop.ClassicOutlook}}}
	f.Installation.Migrating, f.Profiles.Asks = true, true
	all := append(warningsOf(target, s, DefaultLimits(), &f, somewhere, noon), somewhere.fill(unwritten))
	if len(all) < 8 {
		t.Errorf("%d warnings", len(all))
	}
	for _, w := range all {
		sentence(t, "warning", w)
		if !strings.Contains(w, somewhere.account) && !strings.Contains(w, "that account") || !strings.Contains(w, "HOST7") && !strings.Contains(w, "crm") {
			t.Errorf("it does not say where: %q", w)
		}
	}
}

// A target whose account is written as a SID is told by its name.
func TestPlaceNamesTheAccount(t *testing.T) {
	for written, want := range map[string]string{
		"": rigAccount, rigSID: rigAccount, strings.ToLower(rigSID): rigAccount, `host\ROBOT`: `host\ROBOT`, "S-1-5-21-9-9-9-9": "S-1-5-21-9-9-9-9",
	} {
		a := New(Config{Dir: t.TempDir(), Limits: DefaultLimits(), Log: discard(), Account: rigAccount, SID: rigSID, Host: "HOST"})
		if err := a.Configure([]Target{{Name: "crm", Profile: "P", Account: written}}); err != nil {
			t.Fatal(err)
		}
		v, err := a.Target("crm")
		if err != nil || !strings.Contains(v.Message, want) {
			t.Errorf("%s: %q %v", written, v.Message, err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}
