package mapiadapter

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// act does what the machine wants done, with the agent that it judged by; nil is
// none, and then nothing comes of work.
func (r *runner) act(ctx context.Context, agent *seenAgent, d Do) {
	now := wallNow()
	work := Work{Target: r.name, Profile: r.target.Profile, Mode: r.target.Mode}
	switch d.Kind {
	case DoLook:
		r.a.around.look()
		r.a.agents.lookNow()
		return
	case DoTell:
		r.tell(agent, d)
		return
	case DoStartAgent:
		r.startAgent(ctx)
		return
	case DoStart, DoSend:
		work.Kind, work.ID, work.NotAfter = WorkStart, r.workID(d.Attempt), now.Add(r.a.cfg.Limits.Trigger)
		if d.Kind == DoSend {
			work.Kind = WorkSend
		}
		if d.Ask {
			work.Ask, work.Text = true, "Outlook opens in 60 seconds to renew the mailbox access of this account."
		}
		r.work = work.ID
		r.a.agents.withdraw(r.name)
	case DoProbe:
		r.renewal.Probe = now
		work.Kind, work.ID, work.NotAfter = WorkProbe, r.workID("p"), now.Add(r.a.cfg.Limits.ProbeTime)
	}
	if agent != nil {
		r.a.agents.give(sessionOf(agent.report.Facts), work)
	}
}

// probed follows a probe of the agent's. Where that could open the profile, our own
// logon tries too, after it, as MAPI lets one logon in at a time: what works in the
// session and not in the service is the service's own trouble.
func (r *runner) probed(ctx context.Context, ok bool, now time.Time) {
	r.renewal.Probed = now
	probe, target := r.a.cfg.Probe, r.target
	if !ok || probe == nil {
		return
	}
	r.a.task(ctx, "MAPI probe", func() {
		select {
		case r.a.probing <- struct{}{}:
			defer func() { <-r.a.probing }()
		case <-ctx.Done():
			return
		}
		hr, err := probe(ctx, target.Profile, target.Mode)
		if err != nil {
			r.a.cfg.Log.WarnContext(ctx, "the MAPI probe could not be run in the broker's own logon", slog.String("target", target.Name))
			return
		}
		ev := Event{Kind: EventProbe, Service: true, OK: mapiprobe.Classify(hr) == mapiprobe.ClassOK, HResult: hr, Class: classOf(hr)}
		_ = r.send(ctx, request{event: ev}) // at a stop nobody needs it any more
	})
}

// startAgent starts the agent. It has a goroutine of its own, as Windows may take
// its time; the Adapter waits for it.
func (r *runner) startAgent(ctx context.Context) {
	r.a.task(ctx, "start of the agent", func() {
		if err := r.a.cfg.StartAgent(ctx); err != nil {
			r.a.cfg.Log.WarnContext(ctx, "the agent could not be started", slog.String("target", r.name), slog.Any("error", err))
		}
	})
}

// workID is unique for as long as agents remember: the attempt's number may
// begin again with a new ledger, the time does not.
func (r *runner) workID(attempt string) string {
	return fmt.Sprintf("%s/%s/%d", r.name, attempt, wallNow().UnixNano())
}

// noticeTime is how late a notice may still be shown.
const noticeTime = 10 * time.Minute

// tell tells people of a phase, and the person in the session where it is theirs.
func (r *runner) tell(agent *seenAgent, d Do) {
	v, number := r.view(), 0
	if d.Remind > 0 {
		number = numbers[v.Phase]
	} else { // the step may have gone on, and that is told too
		v.Phase, v.Reason, number = d.Step.To, d.Step.Reason, numberOf(d.Step)
		v.Message, v.Action = sentencesOf(v, r.place())
	}
	if number == 0 {
		return
	}
	if r.a.cfg.Tell != nil {
		r.a.cfg.Tell(Notice{Number: number, View: v, Repeat: d.Remind})
	}
	if agent == nil || v.Phase != NeedsUser {
		return
	}
	r.a.agents.give(sessionOf(agent.report.Facts), Work{
		ID: r.workID("n"), Target: r.name, Kind: WorkNotice, Text: noticeOf(v.Reason, r.place()), NotAfter: wallNow().Add(noticeTime),
	})
}
