package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/mapiadapter/agent"
	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
	"github.com/m365-token-broker/broker/internal/token"
)

// newAgent is `broker agent`.
func newAgent(o *options) *cobra.Command {
	var f seatFlags
	var account, logFile string
	var background bool
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Touch Outlook for a broker that runs as a service",
		Long: `Work in this session for a broker of the same account that runs as a service: see
whether Outlook is well, and start it, or ask it to renew, when the broker says so.

It runs for as long as the session, and waits for the broker where that is not
there. Its key is in this account's secret store, where the broker put it. Start
it at logon; one agent per session is enough, and a second one ends at once.`,
		Example: `  broker agent
  broker agent --start-in-session CONTOSO\svc-archive     as LocalSystem: start the agent in that account's session`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if account != "" {
				return startAgentFor(cmd.Context(), account)
			}
			f.agent = agentAuto
			if background {
				return startDetached(backgroundArgs(o))
			}
			return runAgent(cmd.Context(), o, &f, logFile)
		},
	}
	f.addScript(cmd)
	cmd.Flags().BoolVar(&background, "background", false, "start it without a window, and return; its log is agent.log in the state directory")
	cmd.Flags().StringVar(&logFile, "log-file", "", "write the log to this `file` instead of the terminal")
	cmd.AddCommand(newAgentInstall(o), newAgentUninstall(o))
	cmd.Flags().StringVar(&account, "start-in-session", "", "start the agent in the session of this `account` (DOMAIN\\user or SID), and end; needs LocalSystem")
	return cmd
}

// notWindows is the answer where there can be no Outlook.
func notWindows() error {
	return token.NewError(token.KindUnsupported, "", "Outlook runs on Windows only; run the agent there, in the session of the account that the broker runs as.")
}

// startAgentFor starts this program, as the agent, in another account's session.
func startAgentFor(ctx context.Context, account string) error {
	sid, err := sidOf(account)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return desktop.StartInSession(ctx, sid, self, []string{"agent"})
}

// agentLog is the log of an agent without a terminal, in the state directory.
const agentLog = "agent.log"

// backgroundArgs start the agent as this command would, with a log file.
func backgroundArgs(o *options) []string {
	return append([]string{"agent", "--log-file", agentLog}, globalArgs(o)...)
}

// globalArgs are the flags of every command, as this one was given them.
func globalArgs(o *options) []string {
	var args []string
	if o.config != "" {
		args = append(args, "--config", o.config)
	}
	if o.stateDir != "" {
		args = append(args, "--state-dir", o.stateDir)
	}
	for _, s := range o.set {
		args = append(args, "--set", s)
	}
	return args
}

// maxAgentLog is how large the log file may be at a start of the agent; the old
// one then gets the ending .1.
const maxAgentLog = 1 << 20

// openAgentLog opens the log, for its owner only. A name without a directory is
// in the state directory.
func openAgentLog(stateDir, name string) (*os.File, error) {
	if filepath.Base(name) == name {
		name = filepath.Join(stateDir, name)
	}
	if info, err := os.Stat(name); err == nil && info.Size() > maxAgentLog {
		_ = os.Rename(name, name+".1") // where it fails, the file grows once more
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the agent's log: %w", err)
	}
	return file, nil
}

// runAgent is the agent until the session ends.
func runAgent(ctx context.Context, o *options, f *seatFlags, logFile string) error {
	s, err := f.take(ctx)
	if err != nil {
		return err
	}
	if s.fault != nil {
		return s.fault
	}
	if s.desktop == nil {
		if s.platform != mapiadapter.ReasonNone {
			return notWindows()
		}
		return token.NewError(token.KindUnsupported, "", "The agent works in a person's session, and this process is in none; log on as "+s.account+" and start it there.")
	}
	loaded, err := loadConfig(o)
	if err != nil {
		return err
	}
	dir := loaded.Places.StateDir
	if err := lifecycle.EnsureStateDir(dir); err != nil {
		return err
	}
	out := o.env.stderr
	if logFile != "" {
		file, err := openAgentLog(dir, logFile)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		out = file
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	lock, err := lockAgent(ctx, dir, s.desktop)
	if _, running := errors.AsType[*lifecycle.LockedError](err); running {
		log.InfoContext(ctx, "another agent works in this session already")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	store, _, err := credstore.Open(ctx, credstore.Config{
		Kind: credstore.Kind(loaded.Config.Store), Dir: filepath.Join(dir, "secrets"), Log: log, SessionBus: credstore.SessionBus(o.env.getenv),
	})
	if err != nil {
		return err
	}
	ctx, stop := lifecycle.Signals(ctx, o.env.exit)
	defer stop()
	if err := awaitAgentKey(ctx, store, log); err != nil {
		return err
	}
	link := &httpLink{dir: dir, listen: loaded.Config.Listen, store: store, http: &http.Client{Transport: &http.Transport{}}}
	a := agent.New(agent.Config{Desktop: s.desktop, Link: link, Probe: probeOutlook, Version: version(), Log: log})
	log.InfoContext(ctx, "the agent works", slog.String("version", version()))
	return a.Run(ctx)
}

// lockAgent lets one agent per session work.
func lockAgent(ctx context.Context, dir string, d desktop.Desktop) (*lifecycle.InstanceLock, error) {
	facts, err := d.Look(ctx, desktop.Want{})
	if err != nil {
		return nil, fmt.Errorf("look at this session: %w", err)
	}
	dir = filepath.Join(dir, "agent", strconv.FormatUint(uint64(facts.Session.ID), 10))
	if err := lifecycle.EnsureStateDir(dir); err != nil {
		return nil, err
	}
	return lifecycle.Lock(ctx, dir, lifecycle.Info{Version: version()})
}

// httpLink is the way to the broker of this account, wherever it listens at the
// moment.
type httpLink struct {
	dir    string // the state directory
	listen string // of the settings, where the directory does not say
	store  credstore.Store
	http   *http.Client
}

// syncSlack is how much longer than its wait an answer may take.
const syncSlack = 20 * time.Second

func (l *httpLink) Sync(ctx context.Context, r mapiadapter.Report, wait time.Duration) (mapiadapter.Orders, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+syncSlack)
	defer cancel()
	key, err := readAgentKey(ctx, l.store)
	if err != nil {
		return mapiadapter.Orders{}, err
	}
	listen := l.listen
	if h, ok := lifecycle.Holder(l.dir); ok && h.Listen != "" {
		listen = h.Listen
	}
	a := &api{http: l.http, base: "http://" + listen, key: key}
	query := url.Values{"wait": {strconv.Itoa(int(wait.Seconds()))}}
	var answer struct {
		mapiadapter.Orders
		LookEvery int `json:"look_every"` // seconds
	}
	if err := a.call(ctx, http.MethodPost, "/v1/agent/sync", query, r, &answer); err != nil {
		return mapiadapter.Orders{}, err
	}
	answer.Orders.LookEvery = time.Duration(answer.LookEvery) * time.Second
	return answer.Orders, nil
}
