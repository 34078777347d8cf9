package config

import (
	"strings"
	"testing"
)

// TestWindowsAccount: who can have a session, and who never will.
func TestWindowsAccount(t *testing.T) {
	const remedy = "; run the consumer as a user account that can log on here, and name that"
	const (
		good    = ""
		service = "is an account of Windows for services, which can never have a session with Outlook in it, so that nobody can renew its sign-in" + remedy
		managed = "ends in $, as managed service accounts (gMSA) and computers do; such an account can never have a session with Outlook in it, so that nobody can renew its sign-in" + remedy
		sid     = "is the SID of no user account; those begin with S-1-5-21 or S-1-12-1, as `whoami /user` shows"
		odd     = `is not a Windows account; write DOMAIN\user, .\user for one of this machine, user@domain, or a SID`
	)
	for account, want := range map[string]string{
		`CONTOSO\svc-archive`: good, `.\svc`: good, `svc@contoso.com`: good, `svc.archive+x@contoso`: good, `AzureAD\AdeleVance`: good,
		`AzureAD\adele@contoso.com`: good, `corp.contoso.com\svc archive`: good, `Müller-PC\Jörg`: good, `CONTOSO\system1`: good,
		`S-1-5-21-3623811015-3361044348-30300820-1013`:      good,
		`s-1-12-1-111111111-1222222222-333333333-444444444`: good,
		`LocalSystem`:                 service,
		`SYSTEM`:                      service,
		`.\LocalSystem`:               service,
		`NT AUTHORITY\SYSTEM`:         service,
		`nt authority\local service`:  service,
		`NT AUTHORITY\NetworkService`: service,
		`NT-AUTORITÄT\SYSTEM`:         service,
		`NetworkService`:              service,
		`NT SERVICE\ArchiveService`:   service,
		`IIS APPPOOL\DefaultAppPool`:  service,
		`S-1-5-18`:                    service,
		`S-1-5-19`:                    service,
		`S-1-5-20`:                    service,
		`S-1-5-80-956008885-3418522649-1831038044-1853292631-1`: service,
		`S-1-5-82-3006700770-424185619-1745488364-794895919-1`:  service,
		`CONTOSO\gmsa-archive$`:                                 managed,
		`gmsa-archive$@contoso.com`:                             managed,
		`HOST$`:                                                 managed,
		`S-1-5-32-544`:                                          sid,
		`S-1-1-0`:                                               sid,
		`S-1-5-180`:                                             sid,
		`S-1-5-21-1-2-3`:                                        sid,
		`svc`:                                                   odd,
		`CONTOSO\`:                                              odd,
		`\svc`:                                                  odd,
		`CONTOSO\a\b`:                                           odd,
		`CONTOSO/svc`:                                           odd,
		`a@b@c`:                                                 odd,
		`a b@contoso.com`:                                       odd,
		`@contoso.com`:                                          odd,
		`svc@`:                                                  odd,
		`CONTOSO\"svc"`:                                         odd,
		`S-1-5-x`:                                               odd,
	} {
		h := newHome(t, map[string]string{"broker.yaml": "mapi:\n  a: {profile: Outlook}\n  b:\n    profile: Archive\n    account: '" + account + "'\n"})
		_, err := Load(h.options())
		got := ""
		if err != nil {
			got = h.plain(err.Error())
		}
		if want != "" {
			want = "broker.yaml:5: mapi.b.account: " + want
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", account, got, want)
		}
	}
}

// TestTargets: defaults, and targets that look alike and are two.
func TestTargets(t *testing.T) {
	h := newHome(t, map[string]string{
		"broker.yaml": "mapi:\n  a: {profile: Outlook, account: 'CONTOSO\\one'}\n  b: {profile: Outlook, account: 'CONTOSO\\two', probe: true, notice: false}\n  c: {profile: Other, account: 'CONTOSO\\two'}\n",
	})
	o := h.options()
	o.Flags = []Override{{"--set", "mapi.c.notice", "false"}, {"--set", "mapi.c.probe", "true"}}
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Target{
		"a": {Profile: "Outlook", Account: `CONTOSO\one`, Mode: ModeCached, Policy: PolicyNudge, Notice: true},
		"b": {Profile: "Outlook", Account: `CONTOSO\two`, Mode: ModeCached, Policy: PolicyNudge, Probe: true},
		"c": {Profile: "Other", Account: `CONTOSO\two`, Mode: ModeCached, Policy: PolicyNudge, Probe: true},
	} {
		if got := l.Config.MAPI[name]; got != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	explained := map[string]string{}
	for _, s := range l.Explain() {
		if strings.HasPrefix(s.Key, "mapi.") {
			explained[s.Key] = s.Value + " from " + h.plain(s.Source)
		}
	}
	for key, want := range map[string]string{
		"mapi.a.notice": "true from default", "mapi.b.notice": "false from broker.yaml:3", "mapi.c.probe": "true from --set", "mapi.a.probe": "false from default",
	} {
		if explained[key] != want {
			t.Errorf("%s = %s, want %s", key, explained[key], want)
		}
	}
}
