package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// aConsumer is a drop-in with a consumer of ews, and more of it.
func aConsumer(name, more string) string {
	return fmt.Sprintf("consumers: {%s: {key_sha256: [%x], accounts: [%s], resources: [ews]%s}}\n", name, sha256.Sum256([]byte(name)), alice, more)
}

// consumerFaults are in the programs that may ask.
func consumerFaults() []planted {
	drop := func(more func(t *testing.T) string) func(*testing.T, *world) []string {
		return func(t *testing.T, w *world) []string { return []string{"--config", other(t, w, more(t))} }
	}
	program := func(t *testing.T) string {
		file := filepath.Join(t.TempDir(), "sync.exe")
		write(t, file, "MZ")
		return file
	}
	problem := func(text, remedy string) finding {
		return finding{"consumer/crm", text, remedy, resultProblem}
	}
	return []planted{
		{name: "its account is not signed in", want: finding{"consumer/crm", "none of its accounts is signed in (" + alice + ")", "broker login --account " + alice, resultWarning}, plant: drop(func(*testing.T) string { return aConsumer("crm", "") })},
		{name: "its program is not there", want: problem("is not on this machine", "conf.d"), plant: drop(func(t *testing.T) string {
			return aConsumer("crm", ", executable: '"+filepath.Join(t.TempDir(), "gone.exe")+"'")
		})},
		{name: "its program was changed", want: problem("is another file than when its SHA-256 was noted", "the new one is "), plant: drop(func(t *testing.T) string {
			return aConsumer("crm", ", executable: '"+program(t)+"', sha256: "+strings.Repeat("ab", 32))
		})},
	}
}

// runningFaults happen to a broker that runs, with alice signed in and the
// consumer app.
func runningFaults() []planted {
	problem := func(name, text, remedy string) finding { return finding{name, text, remedy, resultProblem} }
	play := func(scenario string) func(*testing.T, *world) []string {
		return func(t *testing.T, w *world) []string {
			t.Helper()
			w.fault(sandbox.Fault{Scenario: scenario, Endpoint: sandbox.EndpointEWS})
			return nil
		}
	}
	const mailbox = nameEWS + "/" + alice
	return []planted{
		{name: "the tenant blocks EWS", want: problem(mailbox, "not on the allow-list (EwsAllowedAppIDs)", "-EwsAllowedAppIDs"), plant: play("ews_blocked")},
		{name: "the tenant switched EWS off", want: problem(mailbox, "switched Exchange Web Services off", "Set-CASMailbox"), plant: play("ews_disabled")},
		{name: "Exchange refuses the token", want: problem(mailbox, "HTTP 401", "resources.ews.scopes"), plant: play("token_rejected")},
		{name: "Exchange breaks off", want: problem(mailbox, "did not answer a request of Exchange Web Services", "login-host"), plant: play("reset")},
		{name: "Exchange is busy", want: finding{mailbox, "wants fewer requests at the moment", "later", resultWarning}, plant: play("throttled")},
		{name: "a key was rotated", want: finding{"consumer/app", "was rotated out, and ends in", "broker consumers rotate printed", resultWarning}, plant: func(t *testing.T, w *world) []string {
			w.call(w.admin, http.MethodPost, "/v1/consumers/app/rotate", "{}")
			return nil
		}},
		{name: "a setting waits for a restart", want: finding{nameSettings, "the running broker does not have yet: client_id", "Restart the broker", resultWarning}, plant: func(t *testing.T, w *world) []string {
			before := w.read("conf/broker.yaml")
			w.write("conf/broker.yaml", strings.Replace(before, w.sb.ClientID(), "00000000-0000-4000-8000-00000000beef", 1))
			t.Cleanup(func() { w.write("conf/broker.yaml", before) })
			w.eventually("the change", func() bool {
				_, out, _ := w.run("doctor", "--check", nameSettings)
				return strings.Contains(out, "client_id")
			})
			return nil
		}},
		{name: "the secret store is gone", want: problem(nameStore, "The secret store does not work", ""), plant: func(t *testing.T, w *world) []string {
			dir := w.path("state/secrets")
			if err := os.Rename(dir, dir+".away"); err != nil {
				t.Fatal(err)
			}
			write(t, dir, "")
			t.Cleanup(func() {
				if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
					t.Error(err)
				}
			})
			return nil
		}},
		{name: "the sign-in was revoked", want: problem("account/"+alice, "The sign-in was revoked", "broker login --account "+alice), plant: func(t *testing.T, w *world) []string {
			if err := w.sb.Revoke(alice); err != nil {
				t.Fatal(err)
			}
			w.call(w.admin, http.MethodPost, "/v1/token", fmt.Sprintf(`{"resource":"graph","account":%q,"force_refresh":true}`, alice))
			return nil
		}},
	}
}

// systemFaults are of the machine, and cannot be planted in a test's own: a disk
// that is full, the logons of Windows, the time that passes.
func systemFaults(t *testing.T, book *faultBook) {
	t.Helper()
	disk := func(free uint64) []check {
		d := &doctor{room: func(string) (room, error) { return room{free: free}, nil }}
		d.disk("state")
		return d.checks
	}
	const user = "S-1-5-21-1"
	now := time.Now()
	look := consumerLook{now: now, started: now.Add(-40 * 24 * time.Hour), accounts: []httpapi.Account{{Account: "ops", State: httpapi.AccountStateOk}, {Account: "out", State: httpapi.AccountStateSignInRequired}}, file: programFile}
	key := []httpapi.ConsumerKeyInfo{{Sha256Prefix: "9f86d081"}}
	consumer := func(c httpapi.Consumer) []check {
		if c.Name = "crm"; c.LastUsedAt.IsZero() && c.CreatedAt.IsZero() {
			c.LastUsedAt = now
		}
		return look.all([]httpapi.Consumer{c})
	}
	for _, p := range []struct {
		found []check
		planted
	}{
		{disk(1 << 20), planted{name: "the disk is full", want: finding{nameDisk, "is full: 1 MiB", "Free some space", resultProblem}}},
		{disk(100 << 20), planted{name: "the disk is nearly full", want: finding{nameDisk, "is nearly full: 100 MiB", "Free some space", resultWarning}}},
		{logonChecks(logon{user: user, groups: []string{sidNetwork}}, credstore.Wincred, false), planted{name: "a network logon", want: finding{nameLogon, "error 1312", "interactive logon", resultProblem}}},
		{logonChecks(logon{user: user, groups: []string{sidBatch}}, credstore.Wincred, false), planted{name: "a scheduled task", want: finding{nameLogon, "a batch logon", "password", resultWarning}}},
		{logonChecks(logon{user: sidSystem}, credstore.File, true), planted{name: "LocalSystem", want: finding{nameLogon, "as LocalSystem, which has no mailbox", "mailbox account", resultProblem}}},
		{logonChecks(logon{user: sidVirtual + "1-2-3-4-5"}, credstore.Wincred, true), planted{name: "a virtual account", want: finding{nameLogon, "own virtual account, which has no mailbox", "mailbox account", resultProblem}}},
		{logonChecks(logon{user: user, elevated: true}, credstore.Wincred, true), planted{name: "administrator rights", want: finding{nameLogon, "administrator rights", "broker agent", resultWarning}}},
		{logonChecks(logon{err: errors.New("denied")}, credstore.Wincred, true), planted{name: "an unknown logon", want: finding{nameLogon, "cannot be found out", "store", resultWarning}}},
		{accountChecks([]httpapi.Account{{Account: "ops", State: httpapi.AccountStateOk}}, false, now), planted{name: "a sign-in is in memory only", want: finding{"account/ops", "is not in the secret store yet", "the store", resultWarning}}},
		{
			[]check{serviceCheck(serviceView{Installed: true, State: lifecycle.ServiceStopped, End: &serviceEndView{Text: "its account could not log on", Remedy: "Check the password."}}, nil)},
			planted{name: "the service cannot log on", want: finding{nameService, "does not run: its account could not log on.", "Check the password", resultProblem}},
		},
		{
			[]check{serviceCheck(serviceView{Installed: true, State: lifecycle.ServiceStopped, End: &serviceEndView{Text: "it was stopped"}}, nil)},
			planted{name: "the service is stopped", want: finding{nameService, "does not run: it was stopped.", "broker service start", resultProblem}},
		},
		{
			[]check{serviceCheck(serviceView{Installed: true, State: lifecycle.ServiceStarting, Log: "broker.log"}, nil)},
			planted{name: "the service starts for ever", want: finding{nameService, "(starting)", "broker.log", resultWarning}},
		},
		{[]check{serviceCheck(serviceView{}, errors.New("access denied"))}, planted{name: "the service manager refuses", want: finding{nameService, "access denied", "elevated", resultWarning}}},
		{consumer(httpapi.Consumer{}), planted{name: "locked out", want: finding{"consumer/crm", "locked out", "broker consumers rotate crm", resultProblem}}},
		{consumer(httpapi.Consumer{Keys: []httpapi.ConsumerKeyInfo{{EndsAt: now.Add(time.Hour + time.Second)}}}), planted{name: "the last key ends", want: finding{"consumer/crm", "The last key of crm ends in 1 h", "broker consumers rotate crm", resultWarning}}},
		{consumer(httpapi.Consumer{Keys: key, CreatedAt: now.Add(-50 * 24 * time.Hour)}), planted{name: "never used", want: finding{"consumer/crm", "has never asked for anything", "broker consumers remove crm", resultWarning}}},
		{consumer(httpapi.Consumer{Keys: key, LastUsedAt: now.Add(-35 * 24 * time.Hour)}), planted{name: "not used any more", want: finding{"consumer/crm", "has not asked for anything since 35 d", "broker consumers remove crm", resultWarning}}},
		{consumer(httpapi.Consumer{Keys: key, Accounts: []string{"ops", "out"}}), planted{name: "one account is out", want: finding{"consumer/crm", "gets no token of out", "broker login --account out", resultWarning}}},
	} {
		t.Run(p.name, func(t *testing.T) { book.note(t, p.planted, p.found) })
	}
}
