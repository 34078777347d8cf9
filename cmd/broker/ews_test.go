package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/ews"
	"github.com/m365-token-broker/broker/internal/httpapi"
)

// ewsNow is a moment 130 days before the end.
var ewsNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// countedEWS is two consumers that were counted.
func countedEWS() httpapi.EWSUsage {
	op := func(name string, calls int64, ago time.Duration) httpapi.EWSOperation {
		r := ews.Exit(name)
		return httpapi.EWSOperation{Operation: name, Calls: calls, LastAt: ewsNow.Add(-ago), Graph: r.Graph, Permission: r.Permission, Note: r.Note}
	}
	return httpapi.EWSUsage{
		SinceAt: time.Date(2026, 11, 1, 8, 30, 0, 0, time.Local), EndsOn: ews.EndsOn,
		Consumers: []httpapi.EWSConsumer{
			{Consumer: "crm", Calls: 1204, LastAt: ewsNow.Add(-3 * time.Minute), Operations: []httpapi.EWSOperation{
				op("FindItem", 1100, 3*time.Minute), op("MoveItem", 102, time.Hour), op("GetSharingFolder", 2, 50*time.Hour),
			}},
			{Consumer: "exec", Calls: 1, LastAt: ewsNow.Add(-24 * time.Hour), Operations: []httpapi.EWSOperation{op(ews.Other, 1, 24*time.Hour)}},
		},
	}
}

func TestEWSReportPage(t *testing.T) {
	all := []httpapi.Consumer{
		{Name: "crm", Resources: []string{"graph", "ews"}},
		{Name: "billing", Resources: []string{"ews"}},
		{Name: "sync", Resources: []string{"graph"}},
		{Name: "exec-1", Resources: []string{"ews"}, LeaseEndsAt: ewsNow.Add(time.Hour)},
	}
	var out bytes.Buffer
	if err := newEWSReportOf(countedEWS(), all, ewsNow).show(&out, ewsNow); err != nil {
		t.Fatal(err)
	}
	want := `EWS in Exchange Online ends on 1 April 2027, in 130 days; Exchange on premises goes on.
Counted through the proxy since 2026-11-01 08:30:00: 1,205 calls of 2 consumers.

crm: 1,204 calls, the last 3 min ago
  OPERATION         CALLS  LAST       MICROSOFT GRAPH                                             PERMISSION
  FindItem          1,100  3 min ago  GET /me/mailFolders/{id}/messages, with $filter or $search  Mail.Read
  MoveItem          102    1 h ago    POST /me/messages/{id}/move                                 Mail.ReadWrite
  GetSharingFolder  2      2 d 2 h ago  none documented                                             -
  FindItem: Mail.ReadBasic does without $search and bodies. A calendar view is GET /me/calendar/calendarView; contacts are GET /me/contacts, tasks GET /me/todo/lists/{id}/tasks.
  MoveItem: One message a call; POST /$batch takes 20 calls at once.
  GetSharingFolder: No documented replacement.

exec: 1 call, the last 1 d ago
  OPERATION  CALLS  LAST     MICROSOFT GRAPH  PERMISSION
  other      1      1 d ago  none documented  -
  other: An operation that this version does not know, or a request in which none could be seen.

Delegated permissions of Microsoft Graph
  needed: Mail.ReadWrite
  also, where used for more than messages or as a note says: Calendars.ReadBasic, Contacts.Read, Tasks.Read

What to do next
  Let an administrator consent to these permissions for the app registration, and sign in again: broker login
  Move crm first, by the calls above (docs/ews-exit.md has them all), and give it the resource graph.
  Then count anew, to see that nothing is left, and take ews from its resources: broker ews reset

A program that takes a token of the resource ews and calls Exchange itself is not seen here. These consumers have ews among their resources, and nothing was counted of them: billing.
`
	want = strings.ReplaceAll(strings.ReplaceAll(want, "3 min ago  GET", "3 min ago    GET"), "1 h ago    POST", "1 h ago      POST")
	want = strings.ReplaceAll(want, "LAST       MICROSOFT", "LAST         MICROSOFT")
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestEWSReportOfNothing(t *testing.T) {
	for _, tt := range []struct {
		all  []httpapi.Consumer
		at   time.Time
		want string
	}{
		{nil, ewsNow, `EWS in Exchange Online ends on 1 April 2027, in 130 days; Exchange on premises goes on.
Nothing has gone through the proxy to EWS.

A program that takes a token of the resource ews and calls Exchange itself is not seen here. No consumer has ews among its resources.
`},
		{[]httpapi.Consumer{{Name: "crm", Resources: []string{"ews"}}}, time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC), `EWS in Exchange Online has ended on 1 April 2027; Exchange on premises goes on.
Nothing has gone through the proxy to EWS.

A program that takes a token of the resource ews and calls Exchange itself is not seen here. These consumers have ews among their resources, and nothing was counted of them: crm.
`},
	} {
		var out bytes.Buffer
		if err := newEWSReportOf(httpapi.EWSUsage{}, tt.all, tt.at).show(&out, tt.at); err != nil || out.String() != tt.want {
			t.Errorf("%v, got\n%s\nwant\n%s", err, out.String(), tt.want)
		}
	}
}

func TestEWSReportForPrograms(t *testing.T) {
	r := newEWSReportOf(countedEWS(), nil, ewsNow)
	var out bytes.Buffer
	if err := r.csv(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if len(lines) != 6 || lines[0] != "consumer,operation,calls,last_at,graph,permission,note" ||
		lines[2] != "crm,MoveItem,102,2026-11-22T11:00:00Z,POST /me/messages/{id}/move,Mail.ReadWrite,One message a call; POST /$batch takes 20 calls at once." {
		t.Errorf("got %q", lines)
	}
	raw, err := json.Marshal(newEWSReportOf(httpapi.EWSUsage{EndsOn: ews.EndsOn, Consumers: []httpapi.EWSConsumer{}}, nil, ewsNow))
	if want := `{"consumers":[],"ends_on":"2027-04-01","days_left":130,"permissions":[],"also_permissions":[],"consumers_not_counted":[]}`; err != nil || string(raw) != want {
		t.Errorf("got %s, %v", raw, err)
	}
}

func TestEWSLine(t *testing.T) {
	if got := ewsLine(nil, ewsNow); got != "" {
		t.Errorf("got %q", got)
	}
	list := countedEWS().Consumers
	if got, want := ewsLine(list, ewsNow), "crm 1,204 calls (FindItem, MoveItem, GetSharingFolder), exec 1 call (other); ends on 1 April 2027, in 130 days; run: broker ews report"; got != want {
		t.Errorf("got %q", got)
	}
	list[0].Operations = append(list[0].Operations, httpapi.EWSOperation{Operation: "GetItem"})
	list = append(list, list...)
	got := ewsLine(list, time.Date(2027, 3, 31, 23, 0, 0, 0, time.UTC))
	if want := "GetSharingFolder, …), and 1 more; ends on 1 April 2027, which is tomorrow; run:"; !strings.Contains(got, want) {
		t.Errorf("got %q", got)
	}
	var out bytes.Buffer
	if err := showStatus(&out, ewsNow, httpapi.Status{Ews: countedEWS().Consumers}, true); err != nil || !strings.Contains(out.String(), "\n  EWS        crm 1,204 calls (") {
		t.Errorf("got %s", out.String())
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}

// Only what may use Exchange Online is warned of: a server of one's own goes on.
func TestEWSCheck(t *testing.T) {
	const online = "https://outlook.office365.com"
	consumers := map[string]config.Consumer{"crm": {Resources: []string{"graph", "ews"}}, "sync": {Resources: []string{"graph"}}}
	resources := func(base, scope string) map[string]config.Resource {
		return map[string]config.Resource{
			"graph": {Scopes: []string{"https://graph.microsoft.com/.default"}, BaseURL: "https://graph.microsoft.com"},
			"ews":   {Scopes: []string{scope}, BaseURL: base},
		}
	}
	for _, tt := range []struct {
		name   string
		cfg    config.Config
		at     time.Time
		result httpapi.DoctorCheckResult
		text   string
	}{
		{"online", config.Config{Consumers: consumers, Resources: resources(online, online+"/EWS.AccessAsUser.All")}, ewsNow, resultWarning, "end on 1 April 2027, in 130 days, and may be used by: crm."},
		{"token only", config.Config{Consumers: consumers, Resources: resources("", online+"/EWS.AccessAsUser.All")}, ewsNow, resultWarning, "may be used by: crm."},
		{"ended", config.Config{Consumers: consumers, Resources: resources(online, online+"/EWS.AccessAsUser.All")}, ewsNow.AddDate(1, 0, 0), resultProblem, "have ended on 1 April 2027, and"},
		{"another cloud", config.Config{Cloud: config.CloudDoD, Consumers: consumers, Resources: resources(config.CloudDoD.Endpoints().Outlook, config.CloudDoD.Endpoints().Outlook+"/EWS.AccessAsUser.All")}, ewsNow, resultWarning, "crm"},
		{"on premises", config.Config{Consumers: consumers, Resources: resources("https://mail.contoso.com", "https://mail.contoso.com/EWS.AccessAsUser.All")}, ewsNow, resultOK, "No consumer"},
		{"on premises, hybrid", config.Config{Consumers: consumers, Resources: resources("https://mail.contoso.com", online+"/EWS.AccessAsUser.All")}, ewsNow, resultOK, "No consumer"},
		{"no consumer", config.Config{Resources: resources(online, online+"/EWS.AccessAsUser.All")}, ewsNow, resultOK, "No consumer"},
	} {
		c := ewsCheck(tt.cfg, tt.at)
		if c.Name != "ews-exit" || c.Result != tt.result || !strings.Contains(c.Text, tt.text) || (c.Result == resultOK) != (c.Remedy == "") {
			t.Errorf("%s: %+v", tt.name, c)
		}
	}
}
