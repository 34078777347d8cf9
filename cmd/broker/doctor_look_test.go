package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/m365-token-broker/broker/internal/audit"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/entra"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/sandbox"
	"github.com/m365-token-broker/broker/internal/token"
)

// Where all is well, the doctor finds nothing: with an account that works, a
// consumer of EWS, a collector, and an audit log.
func TestDoctorHealthy(t *testing.T) {
	collected := make(chan string, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case collected <- r.URL.Path + " " + r.Header.Get("Api-Key"):
		default:
		}
	}))
	defer srv.Close()
	w := newWorld(t, worldOptions{yaml: "telemetry: {log_level: error}\nnotify: {webhook: \"" + srv.URL + "\"}\n", env: map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": srv.URL, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=se%20cret", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
	}})
	w.ready()
	w.token("ews")
	w.eventually("the store", func() bool { return w.account(alice).Persisted })
	code, out, errs := w.run("doctor")
	if code != exitDone || errs != "" || !strings.Contains(out, "Nothing is wrong; ") {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	for _, name := range []string{nameGate, nameStore, nameTLS, nameTenant, nameRegistration, nameTelemetry, nameAudit, nameEWS + "/" + alice, "account/" + alice, nameConsumers} {
		if !regexp.MustCompile(`(?m)^ok +` + regexp.QuoteMeta(name) + ` `).MatchString(out) {
			t.Errorf("%s is not ok in %s", name, out)
		}
	}
	for found := false; !found; {
		found = <-collected == "/v1/traces se cret"
	}
	// Only what is asked for, and the registration also where an account works.
	if _, out, _ := w.run("doctor", "--check", "registration,ews", "--check", "account/"+alice); strings.Count(out, "\n") != 5 || !strings.Contains(out, "takes it as a public client") {
		t.Errorf("only three: %s", out)
	}
	if n := w.sb.Stats().Requests; n["device_code"] > 1 {
		t.Errorf("device codes: %v", n)
	}
	if code, _, errs := w.run("doctor", "--check", "colour"); code != exitUsage || !strings.Contains(errs, nameLoginHost) {
		t.Errorf("code %d: %s", code, errs)
	}
}

// However long the authority takes, the doctor is done in time.
func TestDoctorTakesNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newBubble(t, worldOptions{})
		defer w.close()
		for _, at := range []sandbox.Endpoint{sandbox.EndpointDiscovery, sandbox.EndpointDeviceCode} {
			w.fault(sandbox.Fault{Scenario: "hang", Endpoint: at})
		}
		began := time.Now()
		all := w.parts.examine(t.Context(), nil)
		if took := time.Since(began); took < examineOne || took > examineTime {
			t.Errorf("it took %v", took)
		}
		want := finding{nameTenant, "gave no discovery document of the tenant in time", "Try again later", resultWarning}
		if !slices.ContainsFunc(all, want.is) {
			t.Errorf("no %+v in %s", want, shownChecks(all))
		}
	})
}

// docs/doctor.md has every check, and none that there is not.
func TestDoctorDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)`").FindAllStringSubmatch(string(page), -1) {
		named = append(named, m[1])
	}
	slices.Sort(named)
	known := slices.Sorted(slices.Values(checkNames()))
	if !slices.Equal(named, known) {
		t.Errorf("docs/doctor.md has\n%v, the doctor\n%v", named, known)
	}
	if dup := slices.Compact(slices.Clone(named)); len(dup) != len(named) {
		t.Error("a check stands twice in docs/doctor.md")
	}
}

func TestWanted(t *testing.T) {
	w := wanted{"accounts", "ews/ops", "tls"}
	for name, want := range map[string]bool{"account/ops": true, "ews/ops": true, "ews/bob": false, "tls": true, "dns": false} {
		if w.has(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if got := (wanted{"ews/ops"}).ofBroker(); !slices.Equal(got, []string{"ews"}) {
		t.Errorf("the broker is asked for %q", got)
	}
	names := func(all []check) (out []string) {
		for _, c := range all {
			out = append(out, c.Name)
		}
		return out
	}
	all := append([]check{{Name: "dns", Result: resultOK}, {Name: "tls", Result: resultProblem}, {Name: "disk", Result: resultProblem}}, skipped(later("tls"), "tenant")...)
	if got := names(wanted{"tenant"}.only(slices.Clone(all))); !slices.Equal(got, []string{"tls", "tenant"}) {
		t.Errorf("without what is in its way: %q", got)
	}
	all = append(all, skipped(blindText, "store")...)
	if got := names(wanted{"store"}.only(slices.Clone(all))); !slices.Equal(got, []string{"tls", "disk", "store"}) {
		t.Errorf("without what is in its way: %q", got)
	}
	if got := names(wanted{"disk"}.only(slices.Clone(all))); !slices.Equal(got, []string{"disk"}) {
		t.Errorf("more than was asked for: %q", got)
	}
	if got := names(wanted(nil).only(slices.Clone(all))); len(got) != len(all) {
		t.Errorf("less than all: %q", got)
	}
}

// What Microsoft's certificates look like, and what is told of others.
func TestTLSCheck(t *testing.T) {
	now := time.Now()
	cert := func(organization, name string, left time.Duration) *x509.Certificate {
		return &x509.Certificate{Issuer: pkix.Name{Organization: []string{organization}, CommonName: name}, NotAfter: now.Add(left)}
	}
	const login, own, year = "login.microsoftonline.com", "login.contoso.example", 365 * 24 * time.Hour
	for _, tt := range []struct {
		host string
		cert *x509.Certificate
		want finding
	}{
		{login, cert("DigiCert Inc", "DigiCert Global G2", year), finding{nameTLS, "which this machine trusts", "", resultOK}},
		{"login.partner.microsoftonline.cn", cert("Microsoft Corporation", "Microsoft Azure RSA", year), finding{nameTLS, "valid until", "", resultOK}},
		{login, cert("Contoso", "Contoso Inspection CA", year), finding{nameTLS, `is inspected: its certificate was issued by "Contoso Inspection CA"`, "excepted", resultWarning}},
		{own, cert("Contoso", "Contoso CA", year), finding{nameTLS, `issued by "Contoso CA"`, "", resultOK}},
		{own, cert("Contoso", "Contoso CA", 50*time.Hour), finding{nameTLS, "ends in 2 d", "renew", resultWarning}},
	} {
		if got := tlsCheck(tt.host, tt.cert, now); !tt.want.is(got) {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

func TestTenantAndRegistrationChecks(t *testing.T) {
	for _, tt := range []struct {
		cloud  config.Cloud
		tenant entra.Tenant
		want   finding
	}{
		{config.CloudGlobal, entra.Tenant{Cloud: "microsoftonline.com"}, finding{nameTenant, "knows the tenant t", "", resultOK}},
		{config.CloudDoD, entra.Tenant{Cloud: "microsoftonline.us"}, finding{nameTenant, "knows the tenant t", "", resultOK}},
		{config.CloudDoD, entra.Tenant{Cloud: "private"}, finding{nameTenant, "knows the tenant t", "", resultOK}},
		{config.CloudChina, entra.Tenant{Cloud: "microsoftonline.com"}, finding{nameTenant, "(microsoftonline.com) than the setting cloud says (china)", "cloud: global", resultProblem}},
		{config.CloudGlobal, entra.Tenant{Cloud: "partner.microsoftonline.cn"}, finding{nameTenant, "another Microsoft cloud", "cloud: china", resultProblem}},
		{config.CloudGlobal, entra.Tenant{Cloud: "microsoftonline.us"}, finding{nameTenant, "another Microsoft cloud", "cloud: gcchigh", resultProblem}},
	} {
		if got := tenantCheck("t", "login", tt.cloud, tt.tenant, nil); !tt.want.is(got) {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
	e := &token.Error{Kind: token.KindConfiguration, Detail: "The app registration was given a client secret where none is used; the broker is a public client."}
	if got := registrationCheck(token.App{ClientID: "c"}, token.NewError(token.KindTimeout, "", "")); got.Result != resultWarning || !strings.Contains(got.Text, "in time") {
		t.Errorf("%+v", got)
	}
	if got := registrationCheck(token.App{ClientID: "c"}, e); got.Result != resultProblem || got.Remedy == "" {
		t.Errorf("%+v", got)
	}
}

// What Exchange can answer: a SOAP fault means that it has let the question in, and
// what comes from somebody between says nothing.
func TestEWSAnswer(t *testing.T) {
	for status, want := range map[int]finding{
		200: {text: "lets Exchange Web Services in", result: resultOK},
		500: {text: "lets Exchange Web Services in", result: resultOK},
		403: {text: "lacks the permission", remedy: "EWS.AccessAsUser.All", result: resultProblem},
		404: {text: "has no Exchange Web Services", remedy: "base_url", result: resultProblem},
		503: {text: "wants fewer requests", remedy: "later", result: resultWarning},
		302: {text: "HTTP 302, which does not say", remedy: "proxy", result: resultWarning},
		502: {text: "HTTP 502, which does not say", remedy: "proxy", result: resultWarning},
	} {
		if got := ewsAnswer("outlook", status, http.Header{}); !want.is(got) {
			t.Errorf("%d: %+v", status, got)
		}
	}
	list := []consumer.View{{Resources: []string{"graph"}, Accounts: []string{"a"}}, {Resources: []string{"ews"}, Accounts: []string{"c", "b", "out"}}, {Resources: []string{"ews"}, Accounts: []string{"b"}}}
	if got := ewsAccounts(list, []string{"a", "b", "c"}); !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("asked for %q", got)
	}
}

func TestCollectorsThatAreOff(t *testing.T) {
	p := &parts{getenv: func(k string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}[k]
	}}
	if got := p.examineTelemetry(t.Context(), nil); len(got) != 1 || got[0].Result != resultSkipped {
		t.Errorf("%+v", got)
	}
}

func TestCollectors(t *testing.T) {
	env := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318/", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://b/x", "OTEL_METRICS_EXPORTER": "none",
		"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc",
	}
	var got []string
	for _, c := range collectors(func(k string) string { return env[k] }) {
		kind := " http"
		if c.grpc {
			kind = " grpc"
		}
		got = append(got, c.address+kind)
	}
	if want := []string{"http://a:4318/v1/traces http", "https://b/x grpc"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// The logons of Windows that are well, and the systems where they do not matter.
func TestLogonChecks(t *testing.T) {
	const user = "S-1-5-21-1"
	for _, tt := range []struct {
		logon   logon
		store   credstore.Kind
		outlook bool
		want    finding
	}{
		{logon{}, credstore.File, true, finding{text: "does not matter", result: resultSkipped}},
		{logon{user: user, groups: []string{sidInteractive}}, credstore.Wincred, true, finding{text: "an interactive logon", result: resultOK}},
		{logon{user: user, groups: []string{sidService}}, credstore.Wincred, true, finding{text: "a service logon", result: resultOK}},
		{logon{user: user, groups: []string{sidNetwork}}, credstore.File, false, finding{text: "a network logon", result: resultOK}},
		{logon{user: user, groups: []string{sidBatch}}, credstore.File, false, finding{text: "a batch logon", result: resultOK}},
		{logon{user: user, elevated: true}, credstore.File, false, finding{text: "another kind", result: resultOK}},
		{logon{user: sidSystem}, credstore.File, false, finding{text: "a service logon", result: resultOK}},
		{logon{user: sidLocalSvc}, credstore.File, true, finding{text: "LocalService", remedy: "mailbox account", result: resultProblem}},
		{logon{user: sidNetworkSvc}, credstore.File, true, finding{text: "NetworkService", remedy: "mailbox account", result: resultProblem}},
	} {
		tt.want.name = nameLogon
		if got := logonChecks(tt.logon, tt.store, tt.outlook); len(got) != 1 || !tt.want.is(got[0]) {
			t.Errorf("%+v: %+v, want %+v", tt.logon, got, tt.want)
		}
	}
}

func TestServiceCheck(t *testing.T) {
	for _, tt := range []struct {
		view serviceView
		want finding
	}{
		{serviceView{}, finding{nameService, "is not installed", "", resultSkipped}},
		{serviceView{Installed: true, State: lifecycle.ServiceRunning, Account: `CONTOSO\svc`}, finding{nameService, `runs as CONTOSO\svc`, "", resultOK}},
	} {
		if got := serviceCheck(tt.view, nil); !tt.want.is(got) {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

// What reading the audit log can bring.
func TestAuditCheck(t *testing.T) {
	for _, tt := range []struct {
		report audit.Report
		err    error
		want   finding
	}{
		{audit.Report{Lines: 3}, nil, finding{nameAudit, "3 lines is whole", "", resultOK}},
		{audit.Report{}, audit.ErrNoLog, finding{nameAudit, "no audit log yet", "", resultSkipped}},
		{audit.Report{}, os.ErrPermission, finding{nameAudit, "cannot be read", "access", resultProblem}},
		{audit.Report{Fault: &audit.Finding{Kind: audit.FaultReported, Text: "It was cut."}}, nil, finding{nameAudit, "when the broker opened it: It was cut.", "verify", resultWarning}},
		{audit.Report{Fault: &audit.Finding{Kind: audit.FaultCut, Text: "The end is missing."}}, nil, finding{nameAudit, "not as it was written", "verify", resultProblem}},
	} {
		if got := auditCheck(tt.report, tt.err); !tt.want.is(got) {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

// Many checks that are skipped for one reason are one line.
func TestFolded(t *testing.T) {
	all := skipped("It cannot be.", "a", "b", "c", "d")
	all = append(all, skipped("Another reason.", "e", "f")...)
	got := folded(append([]check{{Name: "x", Result: resultOK}}, all...))
	if len(got) != 4 || got[1].Name != "4 checks" || got[1].Text != "It cannot be: a, b, c, d." || got[2].Name != "e" {
		t.Errorf("%+v", got)
	}
	if (consumerLook{}).all([]httpapi.Consumer{{LeaseEndsAt: time.Now()}})[0].Result != resultSkipped {
		t.Error("a lease is a consumer that lasts")
	}
}
