package sandbox

import "strings"

// ConfigYAML is the broker.yaml to use against the sandbox. caFile is where the
// caller wrote CAPEM.
func (s *Sandbox) ConfigYAML(caFile string) string {
	return `# M365 Token Broker against its sandbox. Nothing here reaches Microsoft 365.
tenant: ` + tenantID + `
client_id: ` + clientID + `
authority: ` + s.url + `
ca_file: ` + quoteYAML(caFile) + `
resources:
  graph:
    scopes: ["` + audienceGraph + `/.default"]
    base_url: ` + s.GraphURL() + `
  ews:
    scopes: ["` + audienceOutlook + `/EWS.AccessAsUser.All"]
    base_url: ` + s.EWSURL() + `
`
}

// quoteYAML quotes for YAML 1.2 section 7.3.2, where a backslash is itself: a
// Windows path stays readable.
func quoteYAML(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
