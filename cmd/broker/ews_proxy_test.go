package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// soapRequest is a request for an operation, as an EWS client sends it.
func soapRequest(operation string) string {
	return `<?xml version="1.0" encoding="utf-8"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">
<s:Header><t:RequestServerVersion Version="Exchange2016"/></s:Header>
<s:Body><` + operation + ` xmlns="http://schemas.microsoft.com/exchange/services/2006/messages">` +
		`<FolderShape><t:BaseShape>Default</t:BaseShape></FolderShape><FolderIds><t:DistinguishedFolderId Id="inbox"/></FolderIds>` +
		`</` + operation + `></s:Body></s:Envelope>`
}

// What goes through the proxy is counted by consumer and operation, in the report,
// the status and the metrics, and is still there after a restart; nothing of the
// requests is.
func TestEWSIsCounted(t *testing.T) {
	w := newWorld(t, worldOptions{env: map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}})
	w.ready()
	other := w.consumer("other-app", alice)
	send := func(key, operation string, headers ...string) {
		t.Helper()
		w.call(key, http.MethodPost, "/proxy/ews/EWS/Exchange.asmx", soapRequest(operation), append(headers, "Content-Type: text/xml")...)
	}
	for range 3 {
		send(w.key, "GetFolder")
	}
	send(w.key, "GetUserAvailabilityRequest")
	send(w.key, "FindItem", `SOAPAction: "http://schemas.microsoft.com/exchange/services/2006/messages/FindItem"`)
	send(other, "NoSuchOperation")
	w.call(w.key, http.MethodGet, "/proxy/graph/v1.0/me", "")

	var usage httpapi.EWSUsage
	w.call(w.admin, http.MethodGet, "/v1/ews", "").into(&usage)
	want := "app 5: GetFolder 3, FindItem 1, GetUserAvailability 1; other-app 1: other 1"
	if got := shortUsage(usage.Consumers); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var status httpapi.Status
	w.call(w.admin, http.MethodGet, "/v1/status", "").into(&status)
	if got := shortUsage(status.Ews); got != want {
		t.Errorf("status: %s", got)
	}
	metrics := string(w.call(w.admin, http.MethodGet, "/metrics", "").body)
	if line := `broker_ews_calls_total{broker_consumer="app",broker_ews_operation="GetFolder"} 3`; !strings.Contains(metrics, line) {
		t.Errorf("no %s in the metrics", line)
	}

	w.restart()
	code, out, stderr := w.run("ews", "report", "--output", "json")
	var report ewsReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != exitDone {
		t.Fatalf("code %d, %v: %s%s", code, err, out, stderr)
	}
	if got := shortUsage(report.Consumers); got != want || strings.Join(report.Permissions, " ") != "Calendars.ReadBasic Mail.Read" {
		t.Errorf("after a restart: %s, permissions %v", got, report.Permissions)
	}
	if text := w.read("state/ews-usage.json"); strings.Contains(text, "NoSuchOperation") || strings.Contains(text, "inbox") || strings.Contains(text, alice) {
		t.Errorf("the file holds more than it should: %s", text)
	}
}

// shortUsage is "app 5: GetFolder 3, …; …".
func shortUsage(list []httpapi.EWSConsumer) string {
	var all []string
	for _, c := range list {
		var ops []string
		for _, op := range c.Operations {
			ops = append(ops, op.Operation+" "+thousands(op.Calls))
		}
		all = append(all, c.Consumer+" "+thousands(c.Calls)+": "+strings.Join(ops, ", "))
	}
	return strings.Join(all, "; ")
}
