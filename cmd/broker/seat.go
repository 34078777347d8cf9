package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// seatFlags say how a process is to take part in the Outlook fallback.
type seatFlags struct {
	agent  string // auto, separate
	script string // a scripted desktop, for tests
}

// Who touches Outlook.
const (
	agentAuto     = "auto"     // this process where it is in the session, else `broker agent`
	agentSeparate = "separate" // always `broker agent`
)

func (f *seatFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.agent, "agent", agentAuto, "who touches Outlook: `auto` (this process where it runs in a person's session) or separate (always broker agent)")
	f.addScript(cmd)
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
	return nil
}

// take finds this process's seat.
func (f *seatFlags) take(ctx context.Context) (seat, error) {
	s, err := f.own(ctx)
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
	facts, err := desk.Look(ctx, desktop.Want{})
	if err != nil {
		return seat{}, fmt.Errorf("look at the scripted desktop: %w", err)
	}
	return seat{desktop: desk, account: facts.Account, host: facts.Host}, nil
}
