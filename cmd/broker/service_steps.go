package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// How Windows starts a service again that failed, and how long it may take to
// stop when Windows shuts down: the broker's ten seconds, and some.
const (
	recoveryReset   = 24 * time.Hour
	preShutdownTime = 15 * time.Second
)

func recoveryWaits() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute}
}

// newConfigure is `broker service configure`.
func (s *services) newConfigure() *cobra.Command {
	var start string
	cmd := &cobra.Command{
		Use:   "configure",
		Short: "Set what the service needs besides itself",
		Long: `Set what the service needs besides itself: delayed start, recovery actions, its SID
type, its description, the event source, and the rights on the directory under
%ProgramData%; an account of yours gets the right to log on as a service. broker service
install does the same; an installer that makes the service by itself runs this, and so
can an administrator who changed the service's account. It leaves the account as it is,
and warns where that has no Outlook and Outlook targets are configured.`,
		Example: `  broker service configure
  broker service configure --start auto
  broker service configure --start keep     after an upgrade`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := s.supported(); err != nil {
				return err
			}
			facts, err := s.tools.manager.Look(s.name)
			if err != nil {
				return err
			}
			if err := s.configure(facts.Account, lifecycle.StartType(start)); err != nil {
				return err
			}
			if err := s.fit(facts.Account); err != nil { // an upgrade must not fail for it, and this cannot change it
				fmt.Fprintf(s.o.env.stderr, "warning: %s\n", sentence(err))
			}
			return nil
		},
	}
	startFlag(cmd, &start, lifecycle.StartDelayed, startKeep)
	return cmd
}

// startKeep leaves a service's start type as it is.
const startKeep lifecycle.StartType = "keep"

// startFlag adds --start, with more words than the usual ones.
func startFlag(cmd *cobra.Command, start *string, usual lifecycle.StartType, more ...lifecycle.StartType) {
	words := []string{string(lifecycle.StartDelayed), string(lifecycle.StartAuto), string(lifecycle.StartManual)}
	for _, word := range more {
		words = append(words, string(word))
	}
	choiceFlag(cmd, start, "start", "when Windows starts it: delayed is shortly after the machine", words...)
	*start = string(usual)
}

// configure sets what the service of this account needs.
func (s *services) configure(account string, start lifecycle.StartType) error {
	s.say("Configuring the service %s, account %s:", s.name, account)
	steps := s.rights(account)
	for _, t := range tunings(start) {
		steps = append(steps, step{what: string(t.Setting), do: func() error { return s.tools.manager.Tune(s.name, t) }})
	}
	steps = append(steps, step{what: "event source", do: func() error { return s.tools.eventSource(true) }})
	if len(s.targets()) > 0 {
		steps = append(steps, step{what: "agent at logon", do: func() error {
			o := *s.o
			return s.tools.agent(&o, true)
		}})
	}
	return s.take(steps)
}

// tunings are the settings of the service.
func tunings(start lifecycle.StartType) []lifecycle.ServiceTuning {
	all := []lifecycle.ServiceTuning{
		{Setting: lifecycle.SettingDescription, Text: serviceDescription},
		{Setting: lifecycle.SettingRecovery, Restarts: recoveryWaits(), Time: recoveryReset},
		{Setting: lifecycle.SettingFailures, On: true},
		{Setting: lifecycle.SettingSID, On: true},
		{Setting: lifecycle.SettingPreShutdown, Time: preShutdownTime},
	}
	if start == lifecycle.StartManual || start == startKeep {
		return all
	}
	return append(all, lifecycle.ServiceTuning{Setting: lifecycle.SettingDelayed, On: start == lifecycle.StartDelayed})
}

// rights give the administrators the directory under %ProgramData%, and let the
// service's account in: it reads the configuration, writes the drop-ins that
// `broker consumers` makes, and owns the state. Nobody else is let in.
func (s *services) rights(account string) []step {
	dir, _, state := config.ServicePlaces(s.o.env.getenv)
	if s.o.stateDir != "" {
		state = s.o.stateDir
	}
	var sid string
	share := func(path string, access func() ownerfile.Access) func() error {
		return func() error {
			if sid == "" {
				return fmt.Errorf("the account %s is not known", account)
			}
			if err := os.MkdirAll(path, 0o700); err != nil {
				return err
			}
			return s.tools.share(path, access())
		}
	}
	full := func() ownerfile.Access { return ownerfile.Access{Full: []string{sid}} }
	read := func() ownerfile.Access { return ownerfile.Access{Read: []string{sid}} }
	steps := []step{{what: "account", vital: true, do: func() (err error) { sid, err = s.tools.sid(account); return err }}}
	if lifecycle.HasPassword(account) || strings.HasSuffix(account, "$") { // the system's own may in any case
		steps = append(steps, step{what: "right to log on as a service", do: func() error { return s.mayLogOn(sid) }})
	}
	return append(steps, []step{
		{what: "rights on " + dir, vital: true, do: share(dir, read)},
		{what: "rights on " + filepath.Join(dir, "conf.d"), vital: true, do: share(filepath.Join(dir, "conf.d"), full)},
		{what: "rights on " + state, vital: true, do: share(state, full)},
	}...)
}

// mayLogOn gives the account the right that a service needs. Where a policy of
// the domain decides it, an administrator there must.
func (s *services) mayLogOn(sid string) error {
	if sid == "" {
		return errors.New("the account is not known")
	}
	if err := s.tools.allowLogon(sid); err != nil {
		return fmt.Errorf("%w; give it by hand: secpol.msc, Local Policies, User Rights Assignment, Log on as a service", err)
	}
	return nil
}

// settings are those of the service, with more than it has been told; empty where
// its configuration is still to be written. Those of the person who runs this
// command are not the service's.
func (s *services) settings(set ...string) (*config.Loaded, error) {
	o := s.o.asService()
	o.set = append(slices.Clone(o.set), set...)
	p, err := places(o)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(p.ConfigFile); errors.Is(err, fs.ErrNotExist) && s.o.config == "" && s.o.env.getenv("BROKER_CONFIG") == "" {
		return &config.Loaded{}, nil
	}
	return loadConfig(o)
}

// targets are the names of the Outlook targets in the service's settings; none
// where they cannot be read.
func (s *services) targets() []string {
	loaded, err := s.settings()
	if err != nil {
		return nil
	}
	var names []string
	for _, t := range targets(loaded.Config) {
		names = append(names, t.Name)
	}
	return names
}
