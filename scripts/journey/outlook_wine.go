package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// standIn is a desktop of Wine with a program that plays Outlook, see package
// outlooktest: it notes how it was started, and answers through COM.
type standIn struct {
	dir   string // of the program
	calls string // the COM members that were called
	cache string // a token cache
}

func (*standIn) flags() []string { return nil }

// newStandIn installs the program, and a profile, in the registry of the prefix.
func newStandIn(ctx context.Context, o options, dir string) (*standIn, error) {
	s := &standIn{dir: filepath.Join(dir, "Office16")}
	s.calls = filepath.Join(s.dir, "calls.txt")
	local, err := wine(ctx, "cmd.exe", "/c", "echo %LOCALAPPDATA%")
	if err == nil {
		local, err = wine(ctx, "winepath.exe", "-u", local)
	}
	if err != nil {
		return nil, err
	}
	s.cache = filepath.Join(local, "Microsoft", "OneAuth", "account")
	for _, d := range []string{s.dir, filepath.Dir(s.cache)} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	if err := s.install(o.standIn); err != nil {
		return nil, err
	}
	const outlook = `HKCU\Software\Microsoft\Office\16.0\Outlook`
	for _, value := range [][]string{
		{`HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\App Paths\OUTLOOK.EXE`, "/ve", "/d", windowsPath(filepath.Join(s.dir, "OUTLOOK.EXE"))},
		{outlook + `\Profiles\` + outlookProfile + `\9375CFF0413111d3B88A00104B2A6676`, "/v", "NextAccountID", "/t", "REG_DWORD", "/d", "1"},
		{outlook, "/v", "DefaultProfile", "/d", outlookProfile},
	} {
		if _, err := wine(ctx, "reg.exe", slices.Concat([]string{"add"}, value, []string{"/f"})...); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// install puts the program there, and beside it what it is to do: connect, and
// write nothing until renew.
func (s *standIn) install(program string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.dir, "OUTLOOK.EXE"), text, 0o700); err != nil {
		return err
	}
	knobs, err := json.Marshal(map[string]any{
		"life": 5 * time.Minute,
		"com":  map[string]any{"profile": outlookProfile, "mode": 700, "log": windowsPath(s.calls)},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.dir, "outlook.json"), knobs, 0o600)
}

// wine runs a program of Wine's own to its end. A process in the background that it
// started may hold on to its output.
func wine(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "wine", append([]string{program}, args...)...)
	cmd.WaitDelay = letGo
	out, err := cmd.Output()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return "", fmt.Errorf("wine %s %s: %w", program, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (s *standIn) renew() error { return os.WriteFile(s.cache, []byte(time.Now().String()), 0o600) }

func (s *standIn) acts() (acts, error) {
	var a acts
	starts, err := filepath.Glob(filepath.Join(s.dir, "start-*.json"))
	if err != nil {
		return a, err
	}
	for _, name := range starts {
		var start struct{ Args []string }
		text, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(text, &start)
		}
		if want := []string{"/recycle", "/profile", outlookProfile}; err == nil && !slices.Equal(start.Args, want) {
			err = fmt.Errorf("start of Outlook with %q, want %q", start.Args, want)
		}
		if err != nil {
			return a, err
		}
		a.starts++
	}
	calls, err := os.ReadFile(s.calls)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	a.sends = strings.Count(string(calls), "SendAndReceive\n")
	return a, err
}

// standInStory is the story of Windows: what the scripted desktop cannot show is
// that broker.exe finds, starts and watches a real process. Its waits are the
// real ones, so it has one start only.
func standInStory(ctx context.Context, w *outlook) error {
	var m memory
	once := w.did(acts{starts: 1})
	renews := func(context.Context) error { return w.desk.renew() }
	return steps(
		ctx,
		w.begin,
		w.startSeen,
		w.killedIn(&m, "observe"),
		w.spent(&m),
		w.serve,
		w.holds(&m),
		w.heard,
		w.at("observe"),
		once,
		renews,
		w.is("fresh"),
		w.ensure(http.StatusOK, ""),
		w.otherAgent,
		w.is("fresh"),
		w.at("idle"),
		once,
		w.mapi("report", "--hresult", refusal),
		w.is("expired"),
		w.at("backoff", "budget"),
		renews,
		w.is("fresh"),
		once,
		w.went("precheck", "trigger", "observe", "idle", "precheck", "backoff", "idle"),
	)
}

// otherAgent kills the agent, and starts another one, which finds Outlook as it
// is.
func (w *outlook) otherAgent(ctx context.Context) error {
	before, err := w.target(ctx)
	if err != nil {
		return err
	}
	w.agent.kill()
	if err := w.startAgent(ctx); err != nil {
		return err
	}
	_, err = w.until(ctx, "another agent", func(t target) bool { return t.Agent.Present && t.Agent.PID != before.Agent.PID })
	return err
}
