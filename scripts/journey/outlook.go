package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// outlook is a broker and an agent, two processes of one account, and the desktop
// that the agent touches.
type outlook struct {
	*broker
	desk  desk
	dir   string
	agent *running // nil: none was started
}

// desk is the desktop, as it is seen from outside.
type desk interface {
	// flags name it to broker and agent.
	flags() []string
	// acts are what was done to Outlook. What must never be done is an error.
	acts() (acts, error)
	// renew is Office renewing by itself.
	renew() error
}

// acts are what was done to Outlook since the beginning.
type acts struct{ starts, sends int }

// running is a process in the background.
type running struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// kill ends the process as a power cut would.
func (r *running) kill() {
	if r != nil {
		_ = r.cmd.Process.Kill()
		<-r.done
	}
}

// Outlook is the target of every story.
const (
	outlookTarget  = "archive"
	outlookProfile = "Archive"
	refusal        = "0x8004011D" // MAPI_E_FAILONEPROVIDER
)

// newOutlook writes the settings: those of the journey, with a target.
func newOutlook(ctx context.Context, o options, a *authority, dir string) (*outlook, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	b, err := newBroker(ctx, o, a, dir)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "broker.yaml"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	// Whether the network is well is asked at the authority and where Outlook goes.
	_, err = fmt.Fprintf(file, `resources:
  ews: {scopes: ["https://outlook.office.com/EWS.AccessAsUser.All"], base_url: '%s'}
notify: {event_log: false}
mapi:
  %s: {profile: %s}
`, a.url, outlookTarget, outlookProfile)
	return &outlook{broker: b, dir: dir}, errors.Join(err, file.Close())
}

// on puts the desktop in.
func (w *outlook) on(d desk) *outlook {
	w.desk = d
	w.flags = append([]string{"--agent", "separate"}, d.flags()...)
	return w
}

// begin starts both processes.
func (w *outlook) begin(ctx context.Context) error {
	return errors.Join(w.serve(ctx), w.startAgent(ctx))
}

func (w *outlook) startAgent(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(w.dir, "agent.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := []string{"agent"}
	for _, f := range w.desk.flags() {
		if f != brisk { // which is the broker's
			args = append(args, f)
		}
	}
	cmd := w.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	r := &running{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended, its log says
		close(r.done)
	}()
	w.agent = r
	return nil
}

func (w *outlook) end() {
	w.agent.kill()
	w.kill()
}

// target is what the API says of the target.
type target struct {
	Phase     string
	Reason    string
	Freshness string
	Message   string
	Action    string
	Proof     string `json:"proof_kind"`
	Account   string
	Host      string
	Attempts  int
	Budget    struct {
		Left int       `json:"starts_left"`
		Next time.Time `json:"next_start_at"`
	}
	Agent struct {
		Present bool
		PID     int
	}
}

func (t target) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s, %s", t.Phase, t.Reason, t.Freshness))
}

func (w *outlook) target(ctx context.Context) (t target, err error) {
	m, err := w.call(ctx, http.MethodGet, "/v1/mapi/"+outlookTarget, nil)
	if err != nil {
		return t, err
	}
	return t, into(m, &t)
}

// into puts a JSON object into a struct.
func into(m map[string]any, to any) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// until looks at the target until it is so.
func (w *outlook) until(ctx context.Context, what string, so func(t target) bool) (target, error) {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		t, err := w.target(ctx)
		if err != nil || so(t) {
			return t, err
		}
		if time.Now().After(deadline) {
			return t, fmt.Errorf("the target does not get to %s, it is %v: %s", what, t, t.Message)
		}
		select {
		case <-ctx.Done():
			return t, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// step is a part of a story.
type step func(ctx context.Context) error

// steps does one after the other, up to the first error.
func steps(ctx context.Context, all ...step) error {
	for i, do := range all {
		if err := do(ctx); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}

// reaches waits for a phase; where two are given, for the first with the second
// as its reason.
func (w *outlook) reaches(ctx context.Context, phase string, reason ...string) (target, error) {
	return w.until(ctx, strings.Join(append([]string{phase}, reason...), " "), func(t target) bool {
		return t.Phase == phase && (len(reason) == 0 || t.Reason == reason[0])
	})
}

func (w *outlook) at(phase string, reason ...string) step {
	return func(ctx context.Context) error {
		_, err := w.reaches(ctx, phase, reason...)
		return err
	}
}

func (w *outlook) is(freshness string) step {
	return func(ctx context.Context) error {
		_, err := w.until(ctx, freshness, func(t target) bool { return t.Freshness == freshness })
		return err
	}
}

// heard waits until the agent speaks to the broker.
func (w *outlook) heard(ctx context.Context) error {
	_, err := w.until(ctx, "an agent", func(t target) bool { return t.Agent.Present })
	return err
}

// did checks what has been done to Outlook in all.
func (w *outlook) did(want acts) step {
	return func(context.Context) error {
		got, err := w.desk.acts()
		if err == nil && got != want {
			err = fmt.Errorf("done to Outlook: %+v, want %+v", got, want)
		}
		return err
	}
}

// ensure asks as a program does, and checks the answer's status and code.
func (w *outlook) ensure(status int, code string) step {
	return func(ctx context.Context) error {
		got, m, err := w.ask(ctx, http.MethodPost, "/v1/mapi/"+outlookTarget+"/ensure", map[string]any{})
		if err == nil && (got != status || code != "" && m["code"] != code) {
			err = fmt.Errorf("ensure: %d %v, want %d %s", got, m, status, code)
		}
		return err
	}
}

// mapi runs a command that has to succeed.
func (w *outlook) mapi(command string, args ...string) step {
	return func(ctx context.Context) error {
		_, err := w.must(ctx, append([]string{"mapi", command, outlookTarget}, args...)...)
		return err
	}
}

// entry is one line of the history.
type entry struct {
	Seq                                                  int
	Event, From, To, Reason, Cause, Attempt, Action, Out string
}

// history is what the command shows.
func (w *outlook) history(ctx context.Context) ([]entry, error) {
	out, err := w.must(ctx, "mapi", "history", outlookTarget, "-n", "1000", "--output", "json")
	if err != nil {
		return nil, err
	}
	var h struct{ Entries []entry }
	return h.Entries, json.Unmarshal([]byte(out), &h)
}

// way is the phases that the target went through.
func way(all []entry) []string {
	var phases []string
	for _, e := range all {
		if e.From != e.To {
			phases = append(phases, e.To)
		}
	}
	return phases
}

// story is a journey of its own, with two processes of its own.
type story struct {
	name    string
	desktop map[string]any // of the script
	brisk   bool
	tell    func(ctx context.Context, w *outlook) error
}

// runOutlook takes all stories at the same time: they mostly wait.
func runOutlook(ctx context.Context, o options, a *authority, dir string) error {
	if o.wine {
		w, err := newOutlook(ctx, o, a, filepath.Join(dir, "wine"))
		if err != nil {
			return err
		}
		d, err := newStandIn(ctx, o, dir)
		if err != nil {
			return err
		}
		return w.take(ctx, "a stand-in for Outlook", d, standInStory)
	}
	var group sync.WaitGroup
	stories := slices.Concat(renewals(), kills())
	errs := make([]error, len(stories))
	for i, s := range stories {
		group.Go(func() {
			at := filepath.Join(dir, fmt.Sprintf("story-%d", i))
			w, err := newOutlook(ctx, o, a, at)
			if err == nil {
				d := &scripted{file: filepath.Join(at, "desktop.json"), brisk: s.brisk}
				if err = d.set(s.desktop); err == nil {
					err = w.take(ctx, s.name, d, s.tell)
				}
			}
			errs[i] = err
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// take tells one story.
func (w *outlook) take(ctx context.Context, name string, d desk, tell func(context.Context, *outlook) error) error {
	started := time.Now()
	defer w.end()
	if err := tell(ctx, w.on(d)); err != nil {
		agent, _ := os.ReadFile(filepath.Join(w.dir, "agent.log"))
		ledger, _ := os.ReadFile(filepath.Join(w.state, "mapi", outlookTarget+".jsonl"))
		return fmt.Errorf("the broker's log:\n%s\nthe agent's log:\n%s\nthe ledger:\n%s\n\n%s: %w", w.logTail(), agent, ledger, name, err)
	}
	fmt.Printf("journey: %-52s %6.2f s\n", name, time.Since(started).Seconds())
	return nil
}
