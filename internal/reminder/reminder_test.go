package reminder

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/notify"
	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// rig is a Reminder whose accounts a test sets.
type rig struct {
	t   *testing.T
	dir string
	log bytes.Buffer

	mu       sync.Mutex // guards what follows
	accounts []Account
	partial  bool
	events   []notify.Event
}

func newRig(t *testing.T, accounts ...Account) *rig {
	t.Helper()
	return &rig{t: t, dir: t.TempDir(), accounts: accounts}
}

// run lets a Reminder live for a time, as a broker between two restarts.
func (r *rig) run(d time.Duration) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), d)
	defer cancel()
	if err := New(ctx, Config{
		Dir: r.dir, Host: "BOX", Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Accounts: func() ([]Account, bool) { r.mu.Lock(); defer r.mu.Unlock(); return r.accounts, !r.partial },
		Notify:   func(e notify.Event) { r.mu.Lock(); defer r.mu.Unlock(); r.events = append(r.events, e) },
	}).Run(ctx); err != nil {
		r.t.Error(err)
	}
}

// took gives the events since it was last asked.
func (r *rig) took() []notify.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

var ended = Account{
	ID: "9f3c", Name: "ops", User: "ops@contoso.com", Need: SignIn, Reason: "revoked",
	Why: "The sign-in was revoked; sign in again with broker login.",
}

func TestWhatWasToldOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ended)
		r.run(10 * time.Minute)
		events := r.took()
		if len(events) != 1 || events[0].ID != 500 || events[0].Severity != notify.Error {
			t.Fatalf("events %+v", events)
		}
		first := events[0]
		for range 4 {
			r.run(4 * time.Minute)
		}
		if events := r.took(); len(events) > 0 {
			t.Errorf("told again after a restart: %+v", events)
		}
		r.run(10 * time.Minute)
		if events := r.took(); len(events) != 1 || events[0].Repeat != 1 || events[0].Key == first.Key || events[0].Subject != first.Subject {
			t.Errorf("the reminder: %+v", events)
		}
		r.accounts[0].Need, r.accounts[0].GoodOn = Nothing, time.Now()
		r.run(time.Minute)
		if events := r.took(); len(events) != 1 || events[0].ID != 530 || events[0].State != "ok" || events[0].Repeat != 0 {
			t.Errorf("the end: %+v", events)
		}
		r.run(24 * time.Hour)
		if events := r.took(); len(events) > 0 {
			t.Errorf("told though all is well: %+v", events)
		}
	})
}

func TestAnAccountThatIsGoneIsForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ended)
		r.run(10 * time.Minute)
		r.took()
		all := r.accounts
		r.accounts, r.partial = nil, true // the store cannot be read
		r.run(time.Hour)
		r.accounts, r.partial = all, false
		r.run(time.Minute)
		if events := r.took(); len(events) != 1 || events[0].Repeat != 1 {
			t.Errorf("after the store came back: %+v", events)
		}
		r.accounts = nil // signed out
		r.run(time.Hour)
		r.accounts = all
		r.run(10 * time.Minute)
		if events := r.took(); len(events) != 1 || events[0].Repeat != 0 {
			t.Errorf("signed out and configured again: %+v", events)
		}
	})
}

func TestTheFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Account{ID: "1", Name: "well@contoso.com", Need: Nothing, GoodOn: time.Now()})
		path := filepath.Join(r.dir, FileName)
		r.run(time.Hour)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written though there is nothing to tell: %v", err)
		}
		r.accounts = []Account{ended}
		r.run(10 * time.Minute)
		r.took()
		text, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(text), "ops") || !strings.Contains(string(text), "9f3c") {
			t.Errorf("the file: %v, %s", err, text)
		}
		if info, err := os.Stat(path); err != nil || ownerfile.Check(path, info) != nil {
			t.Errorf("others can read it: %v", err)
		}
		for _, damaged := range []string{
			"", "{", `{"version":2}`, `{"version":1,"accounts":{"9f3c":{"need":"rest"}}}`, `{"version":1,"accounts":{"9f3c":{"need":"ending","repeat":-1}}}`,
		} {
			r.log.Reset()
			if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
				t.Fatal(err)
			}
			r.run(5 * time.Minute)
			if events := r.took(); len(events) != 1 || events[0].Repeat != 0 || !strings.Contains(r.log.String(), "begins anew") {
				t.Errorf("%q: %+v, %s", damaged, events, &r.log)
			}
		}
	})
}

// A disk that takes nothing keeps nobody from being told.
func TestAFileThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, ended)
		if err := os.Remove(r.dir); err != nil {
			t.Fatal(err)
		}
		r.run(10 * time.Minute)
		if events := r.took(); len(events) != 1 || strings.Count(r.log.String(), "cannot be written down") != 1 {
			t.Errorf("%+v, %s", events, &r.log)
		}
	})
}

// The sentences name the account; log and subject have its hash only.
func TestSentences(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		ending := Account{ID: "77aa", Name: "bob@contoso.com", User: "bob@contoso.com", Need: Nothing, GoodOn: now, End: End{
			On: now.Add(23 * time.Hour), From: now.Add(-6*24*time.Hour - time.Hour), Reason: "sign_in_frequency", Every: 7 * 24 * time.Hour,
		}}
		blocked := Account{ID: "0b0b", Name: "crm", Need: Admin, Reason: "policy-blocked", Why: "Conditional Access blocked the sign-in."}
		unused := Account{ID: "1d1e", Name: "old", Need: Unknown, End: End{On: now.Add(47 * time.Hour), From: now.Add(-88 * 24 * time.Hour), Reason: "idle"}}
		r := newRig(t, ended, ending, blocked, unused)
		r.run(time.Hour)
		want := map[string][3]string{
			"account/9f3c": {"sign_in_required revoked", "The Microsoft 365 account ops (ops@contoso.com) on BOX needs a person to sign in. The sign-in was revoked; sign in again with broker login.", "On BOX, run: broker login --account ops"},
			"account/77aa": {"ending sign_in_frequency", "The sign-in of bob@contoso.com on BOX ends in about 23 hours, on " + ending.End.On.Local().Format("Monday, 2 January, 15:04") + ": the tenant asks for a new one about every 7 days.", "On BOX, run before that: broker login --account bob@contoso.com"},
			"account/0b0b": {"admin_required policy-blocked", "The Microsoft 365 account crm on BOX is refused by the tenant, and no sign-in mends that. Conditional Access blocked the sign-in.", "Ask an administrator of the tenant; on BOX, broker status has the details."},
			"account/1d1e": {"ending idle", "The sign-in of old on BOX ends in about 47 hours, on " + unused.End.On.Local().Format("Monday, 2 January, 15:04") + ": nobody has used it for 88 days.", "On BOX, run before that: broker login --account old"},
		}
		for _, e := range r.took() {
			if e.Repeat > 0 {
				continue
			}
			if got := [3]string{e.State + " " + e.Reason, e.Text, e.Action}; got != want[e.Subject] {
				t.Errorf("%s: %q, want %q", e.Subject, got, want[e.Subject])
			}
			delete(want, e.Subject)
		}
		if len(want) > 0 {
			t.Errorf("not told: %v", want)
		}
		if log := r.log.String(); strings.Contains(log, "bob") || strings.Contains(log, "ops") || strings.Count(log, "a sign-in ends soon") != 2 {
			t.Errorf("the log:\n%s", log)
		}
	})
}

func TestAnEndThatIsPast(t *testing.T) {
	t.Parallel()
	e := End{On: time.Unix(0, 0), From: time.Unix(-7*86400, 0), Every: 7 * 24 * time.Hour}
	if got := e.Words(time.Unix(60, 0)); got != "can end at any moment: the tenant asks for a new one about every 7 days." {
		t.Error(got)
	}
	for d, want := range map[time.Duration]string{90 * time.Minute: "90 minutes", 26 * time.Hour: "26 hours", 50 * time.Hour: "2 days"} {
		if got := about(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
