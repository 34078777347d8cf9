package agent_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// probes are the answers of a MAPI that is asked in two logons.
type probes struct {
	agent, service uint32
	asked          []string // in which, in order
}

func (p *probes) of(logon string, answer *uint32) func(context.Context, string, string) (uint32, error) {
	return func(_ context.Context, profile, mode string) (uint32, error) {
		time.Sleep(2 * time.Second)
		p.asked = append(p.asked, logon+" "+profile+" "+mode)
		return *answer, nil
	}
}

func inProbes(t *testing.T, p *probes, test func(w *world)) {
	t.Helper()
	inScript(t, desktop.Script{}, func(w *world) {
		w.target.Probe = true
		w.probe, w.config.Probe = p.of("agent", &p.agent), p.of("service", &p.service)
	}, test)
}

// A probe that can open the profile is proof, and nobody needs Outlook. The
// service's own logon tries after the agent's, never beside it.
func TestProbeProves(t *testing.T) {
	p := &probes{}
	inProbes(t, p, func(w *world) {
		w.after(2 * time.Minute)
		w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
		w.after(10 * time.Hour)
		v := w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
		if v.Proof != mapiadapter.ProofProbe && v.Proof != mapiadapter.ProofConsumer {
			t.Errorf("proved by %s", v.Proof)
		}
		if n := w.desk.Starts() + w.desk.Sends(); n != 1 {
			t.Errorf("Outlook was asked %d times", n)
		}
		if len(p.asked) < 2 || !slices.Equal(p.asked[len(p.asked)-2:], []string{"agent Outlook cached", "service Outlook cached"}) {
			t.Errorf("asked %v", p.asked)
		}
	})
}

// What works in the session and never in the service is the service's own
// trouble: renewing does not help, and is not tried for ever.
func TestProbesThatDiffer(t *testing.T) {
	p := &probes{service: 0x8004011D}
	inProbes(t, p, func(w *world) {
		w.after(40 * time.Hour)
		w.is(mapiadapter.Session0Broken, mapiadapter.ReasonServiceContext, mapiadapter.Expired)
		if n := w.desk.Starts(); n != 1 {
			t.Errorf("%d starts of Outlook", n)
		}
		asked := len(p.asked)
		w.after(10 * time.Hour)
		if len(p.asked) != asked {
			t.Errorf("it goes on probing: %d times", len(p.asked)-asked)
		}
		p.service = 0
		w.report(0)
		w.after(time.Minute)
		w.is(mapiadapter.Idle, "", mapiadapter.Fresh)
	})
}
