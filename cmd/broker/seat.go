package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// seatFlags say how a process is to take part in the Outlook fallback.
type seatFlags struct {
	agent  string // auto, separate
	script string // a scripted desktop, for tests and the demo
	brisk  bool   // with shorter waits than a real one needs
}

// Who touches Outlook.
const (
	agentAuto     = "auto"     // this process where it is in the session, else `broker agent`
	agentSeparate = "separate" // always `broker agent`
)

func (f *seatFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.agent, "agent", agentAuto, "who touches Outlook: `auto` (this process where it runs in a person's session) or separate (always broker agent)")
	f.addScript(cmd)
	cmd.Flags().BoolVar(&f.brisk, "scripted-brisk", false, "wait for seconds where a real desktop needs minutes")
	cmd.Flags().Lookup("scripted-brisk").Hidden = true
}

// addScript adds the flag for a desktop that a file describes, in place of
// Windows: the tests of two processes use it.
func (f *seatFlags) addScript(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.script, "scripted-desktop", "", "play Outlook as this `file` says")
	cmd.Flags().Lookup("scripted-desktop").Hidden = true
}

// check refuses what cannot be meant.
func (f *seatFlags) check() error {
	if f.agent != agentAuto && f.agent != agentSeparate {
		return usagef("--agent %s: write auto or separate", f.agent)
	}
	if f.brisk && f.script == "" {
		return usagef("--scripted-brisk: a real desktop needs its time")
	}
	return nil
}

// take finds this process's seat.
func (f *seatFlags) take(ctx context.Context) (seat, error) {
	s, err := f.own(ctx)
	if f.script == "" { // a broker has more to do than to look at Outlook
		s.fault, err = err, nil
	}
	if f.agent == agentSeparate {
		s.desktop = nil
	}
	if s.host == "" {
		s.host, _ = os.Hostname()
	}
	return s, err
}

func (f *seatFlags) own(ctx context.Context) (seat, error) {
	if f.script == "" {
		return thisSeat()
	}
	desk, err := desktop.LoadScript(f.script, nil)
	if err != nil {
		return seat{}, err
	}
	here, err := desk.Here(ctx)
	if err != nil {
		return seat{}, fmt.Errorf("look at the scripted desktop: %w", err)
	}
	s := seat{account: here.Account, sid: here.SID, host: here.Host, sessions: sessionsOf(desk.Sessions, here.SID), brisk: f.brisk}
	if here.Interactive {
		s.desktop = desk
	}
	return s, nil
}

// sessionsOf says whether the account sid is logged on, by a list of its sessions.
func sessionsOf(list func(ctx context.Context, sid string) ([]desktop.Session, error), sid string) func(context.Context) mapiadapter.Sessions {
	return func(ctx context.Context) mapiadapter.Sessions {
		switch all, err := list(ctx, sid); {
		case err != nil:
			return mapiadapter.SessionsUnknown
		case len(all) == 0:
			return mapiadapter.SessionsNone
		default:
			return mapiadapter.SessionsSome
		}
	}
}

// limits are those of the design. Over a scripted desktop, which needs no time to
// settle, the waits may be brisk: not what is allowed, and not how long proof is
// waited for.
func (s seat) limits() mapiadapter.Limits {
	l := mapiadapter.DefaultLimits()
	if s.brisk {
		l.LookBusy, l.LookQuiet, l.AgentAbsent, l.SettleLogon = time.Second, 2*time.Second, 6*time.Second, 2*time.Second
	}
	return l
}
