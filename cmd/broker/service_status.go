package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/lifecycle"
)

// serviceView is what `broker service status` shows, for programs.
type serviceView struct {
	Installed bool                   `json:"installed"`
	Name      string                 `json:"name"`
	State     lifecycle.ServiceState `json:"state,omitempty"`
	PID       uint32                 `json:"pid,omitempty"`
	Account   string                 `json:"account,omitempty"`
	Start     lifecycle.StartType    `json:"start,omitempty"`
	Command   string                 `json:"command,omitempty"`
	End       *serviceEndView        `json:"end,omitempty"` // of a service that does not run
	StateDir  string                 `json:"state_dir"`
	Log       string                 `json:"log"`
	Listen    string                 `json:"listen,omitempty"`
}

// serviceEndView says why a service ended.
type serviceEndView struct {
	Code   lifecycle.ServiceCode `json:"code"`
	Win32  uint32                `json:"win32"`
	Cause  string                `json:"cause"`
	Text   string                `json:"text"`
	Remedy string                `json:"remedy,omitempty"`
}

// newStatus is `broker service status`.
func (s *services) newStatus() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say whether the service runs, and why not",
		Long: `Say whether the service is installed and runs, as which account, where its log is,
and why it ended. The exit code is 0 where it runs, else 1. Everybody may ask.`,
		Example: "  broker service status\n  broker service status --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := s.supported(); err != nil {
				return err
			}
			return s.status(output)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

func (s *services) status(output string) error {
	v, err := s.view()
	if err != nil {
		return err
	}
	if output == outputJSON {
		err = printJSON(s.o.env.stdout, v)
	} else {
		err = s.show(v)
	}
	if err == nil && v.State != lifecycle.ServiceRunning {
		return exitError(exitFailed)
	}
	return err
}

func (s *services) view() (serviceView, error) {
	dir := s.stateDir()
	v := serviceView{Name: s.name, StateDir: dir, Log: serviceLog(dir)}
	f, err := s.tools.manager.Look(s.name)
	if e, ok := errors.AsType[*lifecycle.ManagerError](err); ok && e.Code == lifecycle.CodeNoService {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.Installed, v.State, v.PID, v.Account, v.Start, v.Command = true, f.State, f.PID, f.Account, f.Start, f.Command
	switch f.State {
	case lifecycle.ServiceStopped:
		why, remedy := serviceEnd(f)
		v.End = &serviceEndView{Code: f.Code, Win32: f.Win32, Cause: causeOf(f.Code).name, Text: why, Remedy: remedy}
		if f.Win32 != lifecycle.CodeSpecific {
			v.End.Code, v.End.Cause = 0, "system"
		}
		if f.Win32 == 0 {
			v.End.Cause = causeOf(0).name
		}
	default:
		if h, ok := lifecycle.Holder(dir); ok {
			v.Listen = h.Listen
		}
	}
	return v, nil
}

// show writes the page for a person.
func (s *services) show(v serviceView) error {
	if !v.Installed {
		s.say("The service %s is not installed; install it with: broker service install", v.Name)
		return nil
	}
	s.say("The service %s is %s.", v.Name, v.State)
	rows := [][]string{{"account", v.Account}, {"start", string(v.Start)}, {"command", v.Command}, {"state", v.StateDir}, {"log", v.Log}}
	if v.PID != 0 {
		rows = append(rows, []string{"process", fmt.Sprint(v.PID)})
	}
	if v.Listen != "" {
		rows = append(rows, []string{"address", "http://" + v.Listen})
	}
	if err := table(s.o.env.stdout, "  ", rows); err != nil {
		return err
	}
	if v.End != nil {
		s.say("\nWhy it does not run: %s%s.", v.End.Text, endNumber(lifecycle.ServiceFacts{Win32: v.End.Win32, Code: v.End.Code}))
		if v.End.Remedy != "" {
			s.say("%s", v.End.Remedy)
		}
	}
	return nil
}
