package main

import (
	"log/slog"
	"os/user"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
)

// Accounts that a consumer's program may run as, as people write them.
func TestAccountID(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"": "", "1000": "1000", "S-1-5-18": "S-1-5-18", "s-1-5-21-1-2-3-1000": "S-1-5-21-1-2-3-1000", me.Username: me.Uid,
	} {
		if got, err := accountID(in); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	if got, err := accountID("no-such-account-here"); got != "" || err == nil {
		t.Errorf("an account that is not there: %q, %v", got, err)
	}
}

// What the registry is told of a configured consumer: all that ties it, a user
// that is not there as nobody's, and no account of another app.
func TestSpecs(t *testing.T) {
	var log strings.Builder
	p := &parts{log: slog.New(slog.NewTextHandler(&log, nil))}
	var hours config.Hours
	if err := hours.UnmarshalText([]byte("mon-fri 07:00-19:00")); err != nil {
		t.Fatal(err)
	}
	cfg := config.Config{
		ClientID: "app",
		Accounts: map[string]config.Account{"own": {Username: "ops@contoso.com", ClientID: "other"}},
		Consumers: map[string]config.Consumer{
			"crm": {
				Accounts: []string{"own", "Ann@contoso.com"}, ClientID: "OTHER", Hours: hours, Executable: "/opt/crm", SHA256: "aa", User: "1000",
				Sink: "/run/t", SinkFormat: config.SinkJSON, Note: "reports",
			},
			"lost": {User: "no-such-account-here", Accounts: []string{"own"}},
		},
	}
	specs := p.specs(cfg)
	slices.SortFunc(specs, func(a, b consumer.Spec) int { return strings.Compare(a.Name, b.Name) })
	crm, lost := specs[0], specs[1]
	if !slices.Equal(crm.Accounts, []string{"own"}) || !crm.Hours.Equal(hours) || crm.Executable != "/opt/crm" || crm.SHA256 != "aa" ||
		crm.UserID != "1000" || crm.Sink != "/run/t" || crm.SinkFormat != config.SinkJSON || crm.Note != "reports" || crm.ClientID != "OTHER" {
		t.Errorf("%+v", crm)
	}
	if lost.User == "" || lost.UserID != "" {
		t.Errorf("%+v", lost)
	}
	if !strings.Contains(log.String(), "consumer=lost") || !strings.Contains(log.String(), "consumer=crm") || strings.Contains(log.String(), "@") || strings.Contains(log.String(), "no-such") {
		t.Errorf("log %s", log.String())
	}
}
