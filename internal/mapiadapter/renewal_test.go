package mapiadapter

import (
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// told plays a story into the follower of renewals.
func told(steps []Step) (all []Renewal) {
	var n renewal
	now := noon
	for _, s := range steps {
		now = now.Add(minute)
		if n.follow(s, now) {
			all = append(all, n.Renewal)
			n = renewal{}
		}
	}
	return all
}

func TestRenewals(t *testing.T) {
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * minute) }
	pre := Step{From: Idle, To: Precheck, Cause: "c1", Kind: CauseAge}
	trigger := Step{From: Precheck, To: Trigger, Kind: CauseAge, Attempt: "a2", Action: ActionSend}
	observe := Step{From: Trigger, To: Observe}
	tests := map[string]struct {
		steps []Step
		want  []Renewal
	}{
		"proved": {
			[]Step{pre, trigger, observe, {From: Observe, To: Idle}},
			[]Renewal{{Cause: CauseAge, Attempt: "a2", Action: ActionSend, Precheck: at(1), Trigger: at(2), Observe: at(3), To: Idle}},
		},
		"failed at once": {
			[]Step{pre, trigger, {From: Trigger, To: Backoff, Reason: ReasonStartFailed}},
			[]Renewal{{Cause: CauseAge, Attempt: "a2", Action: ActionSend, Precheck: at(1), Trigger: at(2), To: Backoff, Reason: ReasonStartFailed}},
		},
		"nothing to do":          {[]Step{pre, {From: Precheck, To: Idle}}, []Renewal{{Precheck: at(1), To: Idle}}},
		"changes between phases": {[]Step{{From: Idle, To: Suspended}, {From: Suspended, To: WaitAgent}, {From: WaitAgent, To: Idle}}, nil},
		"two": {
			[]Step{pre, {From: Precheck, To: WaitAgent}, {From: WaitAgent, To: Precheck}, trigger, {From: Trigger, To: Suspended, Reason: ReasonPaused}},
			[]Renewal{{Precheck: at(1), To: WaitAgent}, {Cause: CauseAge, Attempt: "a2", Action: ActionSend, Precheck: at(3), Trigger: at(4), To: Suspended, Reason: ReasonPaused}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := told(tt.steps)
			if len(got) != len(tt.want) {
				t.Fatalf("%+v", got)
			}
			for i, r := range got {
				r.Sight, r.Target = Sight{}, Target{}
				w := tt.want[i]
				if r.Cause != w.Cause || r.Attempt != w.Attempt || r.Action != w.Action || !r.Precheck.Equal(w.Precheck) || !r.Trigger.Equal(w.Trigger) ||
					!r.Observe.Equal(w.Observe) || r.To != w.To || r.Reason != w.Reason {
					t.Errorf("got  %+v\nwant %+v", r, w)
				}
			}
		})
	}
}

// Only what did something to Outlook is told, also where the broker restarted on
// the way; and each part of it has its time.
func TestRenewalsAreTold(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		if len(g.ended) > 0 {
			t.Errorf("nothing was done, and told: %+v", g.ended)
		}
		h.triggered()
		w := h.work(WorkStart)
		if _, err := h.sync(result(w, Done)); err != nil {
			t.Fatal(err)
		}
		g.is(Observe, ReasonNone)
		g.restart(5 * time.Second)
		h.facts = func(f *desktop.Facts) {
			runs(f)
			f.CacheOn = time.Now()
		}
		h.stays(10 * time.Second)
		g.is(Idle, ReasonNone)
		if len(g.ended) != 1 {
			t.Fatalf("%+v", g.ended)
		}
		r := g.ended[0]
		if r.Target.Name != "crm" || r.Cause != CauseReport || r.Action != ActionStart || r.Proof != ProofEvidence || r.To != Idle || r.Attempt == "" ||
			r.Trigger.IsZero() || r.Observe.Before(r.Trigger) || !r.Ended.After(r.Observe) || r.Sight.Outlook != OutlookHere {
			t.Errorf("%+v", r)
		}
		if got := g.numbers(); len(got) != 3 || got[2] != noticeProof {
			t.Errorf("told %v", got)
		}
	})
}

// One step may pass through several phases; each is told by its own words.
func TestEachPhaseIsToldByItself(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.facts = func(f *desktop.Facts) { runs(f); f.View.Profile = "Other" }
		h.stays(time.Hour)
		g.numbers()
		g.refused()
		h.wait = 5 * time.Second
		var notice Work
		for range 5 {
			time.Sleep(time.Second)
			o, err := h.sync()
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range o.Work {
				notice = w
			}
		}
		g.is(NeedsUser, ReasonWrongProfile)
		if notice.Kind != WorkNotice || notice.Text != noticeOf(ReasonWrongProfile, place{account: rigAccount, profile: rigProfile}) {
			t.Errorf("%+v", notice)
		}
		for _, n := range g.told {
			message, action := sentencesOf(n.View, place{account: rigAccount, host: "HOST", profile: rigProfile, target: "crm", ours: rigAccount})
			if n.View.Message != message || n.View.Action != action {
				t.Errorf("%d says %q %q, of %s", n.Number, n.View.Message, n.View.Action, n.View.Phase)
			}
		}
		if got := g.numbers(); len(got) != 2 || got[0] != noticeDue || got[1] != noticeNeedsUser {
			t.Errorf("told %v", got)
		}
		if _, err := h.sync(result(notice, Done)); err != nil {
			t.Fatal(err)
		}
		if got := h.stays(20 * time.Minute); len(got) > 0 {
			t.Errorf("shown again: %v", got)
		}
		if got := h.stays(15 * time.Minute); len(got) == 0 || got[0] != "notice" {
			t.Errorf("no reminder in the session: %v", got)
		}
		g.silent()
	})
}

// A step that goes on at once leaves none of its phases untold.
func TestStepThatGoesOn(t *testing.T) {
	inRig(t, nil, func(t *testing.T, g *rig) {
		h := g.hand(7, 1).well()
		h.facts = func(f *desktop.Facts) {
			runs(f)
			f.View = desktop.View{Asked: true, Failure: desktop.FailureBusy}
		}
		h.stays(time.Minute)
		g.refused()
		h.stays(20 * time.Second)
		g.is(Observe, ReasonNone)
		last := g.told[len(g.told)-1]
		if message, _ := sentencesOf(View{Phase: Trigger}, place{account: rigAccount, host: "HOST"}); last.Number != noticeTriggered || last.View.Phase != Trigger || last.View.Message != message {
			t.Errorf("%d: %s %q", last.Number, last.View.Phase, last.View.Message)
		}
	})
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		step Step
		want int
	}{
		{Step{From: Idle, To: Precheck, Cause: "c1"}, noticeDue},
		{Step{From: Idle, To: Precheck}, 0},
		{Step{From: Backoff, To: Precheck, Cause: "c1"}, 0},
		{Step{From: Precheck, To: Trigger, Attempt: "a1"}, noticeTriggered},
		{Step{From: Trigger, To: Observe, Attempt: "a1"}, 0},
		{Step{From: Observe, To: Idle, Attempt: "a1"}, noticeProof},
		{Step{From: Observe, To: Idle, Attempt: "a1", Reason: ReasonNoNewToken}, noticeFresh},
		{Step{From: Backoff, To: Idle}, noticeFresh},
		{Step{To: Backoff}, noticeBackoff},
		{Step{To: Suspended}, noticeSuspended},
		{Step{To: WaitSession}, noticeNoSession},
		{Step{To: WaitAgent}, noticeNoAgent},
		{Step{To: NeedsUser}, noticeNeedsUser},
		{Step{To: Unsupported}, noticeUnsupported},
		{Step{To: Session0Broken}, noticeSession0},
	} {
		if got := numberOf(tt.step); got != tt.want {
			t.Errorf("%s -> %s is %d, not %d", tt.step.From, tt.step.To, got, tt.want)
		}
	}
}
