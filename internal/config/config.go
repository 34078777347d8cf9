// Package config reads the broker's settings, checks them, says where each one
// came from, notices when they change, and writes the two kinds of file that
// the broker writes itself: a first broker.yaml and one drop-in per consumer.
//
// A setting comes from, in rising order: a default, the policy of the machine (in
// Windows' registry), broker.yaml, the drop-ins conf.d/*.yaml in name order, the
// environment (BROKER_…), the command line, the mandatory part of the policy.
// The Config type is the schema: its yaml tags are the known keys, so that the
// parser, the policy, the environment, --set and Explain can never disagree.
//
// goccy/go-yaml parses, because its syntax tree keeps the line of every node
// and we walk that tree ourselves to name the place of each fault; koanf puts
// the layers on one another and fills Config. Neither is visible outside.
package config

import (
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// Config is every setting in force. It is immutable once Load has returned it:
// a reload makes a new one. A Config from Load has passed every check; whether
// it is complete enough to serve is Loaded.Ready.
//
// The tags: yaml is the key, example stands in error texts, enum lists the
// values allowed.
type Config struct {
	// Listen is a loopback address and port; port 0 lets the system choose.
	Listen string `yaml:"listen" example:"127.0.0.1:8477"`
	// Socket is the absolute path of a Unix socket with the same API, or empty. In
	// a file, a relative path counts from that file's directory.
	Socket string `yaml:"socket" example:"/run/m365-token-broker/broker.sock"`
	// SocketGroup is the group that may connect to it, besides its owner; empty =
	// nobody else.
	SocketGroup string `yaml:"socket_group" example:"mailapps"`
	// Pipe is the name of a Windows named pipe with the same API, \\.\pipe\…, or
	// empty.
	Pipe string `yaml:"pipe" example:"\\\\.\\pipe\\m365-token-broker"`
	// PipeUsers are the accounts or groups, by name or SID, that may connect to it,
	// besides the broker's own account.
	PipeUsers []string `yaml:"pipe_users" example:"[CONTOSO\\svc-crm]"`
	// Cloud decides the hosts of sign-in, Graph and Outlook.
	Cloud Cloud `yaml:"cloud" enum:"global gcchigh dod china"`
	// Tenant is the organisation: a GUID or a domain. Where Authority is set it
	// may be any text, because private clouds name tenants as they like.
	Tenant string `yaml:"tenant" example:"contoso.com"`
	// ClientID is our app registration: a GUID, or any text where Authority is set.
	ClientID string `yaml:"client_id" example:"66666666-7777-8888-9999-000000000000"`
	// Authority overrides the login host: https://host[:port]; empty = the cloud's.
	// Ask AuthorityURL for the one in force.
	Authority string `yaml:"authority" example:"https://login.example.com"`
	// CAFile is an absolute path to extra root certificates (PEM), or empty. In
	// a file, a relative path counts from that file's directory.
	CAFile string `yaml:"ca_file" example:"/etc/ssl/corporate.pem"`
	// ProxyURL is the outbound proxy and may hold a password; empty = HTTPS_PROXY
	// and friends.
	ProxyURL token.Secret `yaml:"proxy_url" example:"http://proxy.example.com:8080"`
	// Store is where sign-ins are kept.
	Store Store `yaml:"store" enum:"auto wincred secret-service file memory"`

	// Accounts are the aliases. An account not named here is known by its
	// lower-case user name.
	Accounts map[string]Account `yaml:"accounts" example:"{ops: {username: ops@contoso.com}}"`
	// Resources are the built-in ones of the cloud (graph, ews, imap, smtp, pop)
	// with the file's on top.
	Resources map[string]Resource `yaml:"resources" example:"{crm: {scopes: [\"api://crm/.default\"]}}"`
	// Consumers are the programs that may call us.
	Consumers map[string]Consumer `yaml:"consumers" example:"{crm: {key_sha256: [\"<64 hex digits>\"], accounts: [ops], resources: [graph]}}"`
	// MAPI are the Outlook targets.
	MAPI map[string]Target `yaml:"mapi" example:"{archive: {profile: Outlook}}"`

	Notify    Notify    `yaml:"notify" example:"{webhook: \"https://hooks.example.com/broker\"}"`
	Dialects  Dialects  `yaml:"dialects" example:"{azd: false}"`
	Audit     Audit     `yaml:"audit" example:"{event_log: true}"`
	Telemetry Telemetry `yaml:"telemetry" example:"{log_level: info}"`
}

// Account is one alias.
type Account struct {
	// Username is the lower-case user principal name; empty = whoever signs in
	// under this alias.
	Username string `yaml:"username" example:"ops@contoso.com"`
	Tenant   string `yaml:"tenant" example:"contoso.com"`                             // empty = Config.Tenant
	ClientID string `yaml:"client_id" example:"66666666-7777-8888-9999-000000000000"` // empty = Config.ClientID
}

// Resource is one fixed scope set of one audience.
type Resource struct {
	Scopes  token.Scopes `yaml:"scopes" example:"[\"https://graph.microsoft.com/.default\"]"` // without the reserved OIDC scopes
	BaseURL string       `yaml:"base_url" example:"https://graph.microsoft.com"`              // for the proxy; no trailing slash; may be empty
}

// Consumer is one program that may call us, and what it may have.
type Consumer struct {
	// KeySHA256 are the lower-case hex SHA-256 digests of its keys, see KeyHash;
	// two while a rotation overlaps. An empty list locks the consumer out.
	KeySHA256 []string `yaml:"key_sha256" example:"[\"<64 hex digits>\"]" show:"short"`
	// Accounts are canonical account names: aliases, or lower-case user names.
	Accounts  []string `yaml:"accounts" example:"[ops]"`
	Resources []string `yaml:"resources" example:"[graph, ews]"`
	MAPI      []string `yaml:"mapi" example:"[archive]"`
	// Rate limits its token requests; the zero Rate is no limit.
	Rate Rate `yaml:"rate" example:"50/s"`
	// Executable is the absolute path of the program that the key is meant for.
	// A request of another program is refused. Empty = any program.
	Executable string `yaml:"executable" example:"/opt/crm/sync"`
	// SHA256 is the lower-case hex SHA-256 of that program's file; empty = any.
	SHA256 string `yaml:"sha256" example:"\"<64 hex digits>\""`
	// User is the account that the program must run as: a name, or a SID (Windows)
	// or user ID (elsewhere). Empty = any account.
	User string `yaml:"user" example:"CONTOSO\\svc-crm"`
	// Hours are when it may ask, by the machine's clock; the zero Hours is always.
	Hours Hours `yaml:"hours" example:"mon-fri 07:00-19:00"`
	// ClientID is the app registration whose tokens it may have, where that must
	// be one of its own; each of its accounts is then signed in with it. Empty = any.
	ClientID string `yaml:"client_id" example:"66666666-7777-8888-9999-000000000000"`
	// Sink is the absolute path of an owner-only file that the broker keeps a
	// current token in, for a program that can only read a file; empty = none. The
	// consumer then has one account and one resource.
	Sink string `yaml:"sink" example:"/run/crm/token"`
	// SinkFormat is what stands in that file; default raw.
	SinkFormat SinkFormat `yaml:"sink_format" enum:"raw json header"`
	// Metrics allows GET /metrics.
	Metrics bool `yaml:"metrics" example:"true"`
	// Note says what it is for, to people.
	Note string `yaml:"note" example:"nightly reports"`
}

// Target is one Outlook profile that an Extended MAPI consumer works through.
type Target struct {
	Profile string `yaml:"profile" example:"Outlook"`                 // Outlook profile, at most 64 characters
	Mode    Mode   `yaml:"mode" enum:"cached online"`                 // how the consumer opens the mailbox; default cached
	Policy  Policy `yaml:"policy" enum:"supervise nudge notify_only"` // default nudge
	Account string `yaml:"account" example:"CONTOSO\\svc-archive"`    // the Windows account the consumer runs as (not one of Config.Accounts); empty = ours
	Service string `yaml:"service" example:"ArchiveService"`          // the consumer's Windows service; empty = not known
	// Probe lets a program of ours open the profile's default mailbox by MAPI, as
	// the proof that its sign-in works; default false.
	Probe bool `yaml:"probe" example:"true"`
	// Notice asks before Outlook opens in a session that somebody uses; default
	// true.
	Notice bool `yaml:"notice" example:"false"`
}

// Notify says who is told when something needs a person, besides the log.
type Notify struct {
	// Webhook is an https URL, or http on this machine, and may hold a token; empty
	// = none.
	Webhook token.Secret `yaml:"webhook" example:"https://hooks.example.com/broker"`
	// WebhookSecretFile is an absolute path to an owner-only file whose text signs
	// what the webhook gets, or empty. In a file, a relative path counts from that
	// file's directory.
	WebhookSecretFile string `yaml:"webhook_secret_file" example:"/etc/m365-token-broker/webhook.secret"`
	// Command is the absolute path of a program, and its arguments; empty = none.
	Command []string `yaml:"command" example:"[/opt/hooks/tell, --team, mail]"`
	// EventLog is the Windows event log.
	EventLog bool `yaml:"event_log" example:"false"`
}

// Dialects switches the foreign token protocols on and off.
type Dialects struct {
	ManagedIdentity        bool `yaml:"managed_identity" example:"true"`
	AZD                    bool `yaml:"azd" example:"true"`
	Sidecar                bool `yaml:"sidecar" example:"true"`
	SidecarUnauthenticated bool `yaml:"sidecar_unauthenticated" example:"false"`
}

// Audit says where it is written down who got what.
type Audit struct {
	// File is the chained log in the state directory.
	File bool `yaml:"file" example:"true"`
	// EventLog is a copy in the Windows event log.
	EventLog bool `yaml:"event_log" example:"true"`
}

// Telemetry says how we log. Traces and metrics follow the OTEL_* variables.
type Telemetry struct {
	LogLevel  LogLevel  `yaml:"log_level" enum:"debug info warn error"`
	LogFormat LogFormat `yaml:"log_format" enum:"auto text json"` // auto: text in a terminal, else json
}

// The closed sets of values; the enum tags above list them.
type (
	// Store is where sign-ins are kept.
	Store string
	// Mode is how an Extended MAPI consumer opens the mailbox.
	Mode string
	// Policy is how far the broker goes to get Outlook to renew its sign-in.
	Policy string
	// LogLevel is the least severity that is logged.
	LogLevel string
	// LogFormat is the form of the log's lines.
	LogFormat string
	// SinkFormat is the form of a consumer's token file.
	SinkFormat string
)

// The forms of a token file: the token alone, what GET /v1/token answers, and an
// Authorization header.
const (
	SinkRaw    SinkFormat = "raw"
	SinkJSON   SinkFormat = "json"
	SinkHeader SinkFormat = "header"
)

// The stores. StoreAuto chooses the platform's own.
const (
	StoreAuto          Store = "auto"
	StoreWincred       Store = "wincred"
	StoreSecretService Store = "secret-service"
	StoreFile          Store = "file"
	StoreMemory        Store = "memory"
)

// How a MAPI consumer opens its mailbox, and what we may do to Outlook for it.
const (
	ModeCached       Mode   = "cached"
	ModeOnline       Mode   = "online"
	PolicySupervise  Policy = "supervise"
	PolicyNudge      Policy = "nudge"
	PolicyNotifyOnly Policy = "notify_only"
)

// DefaultListen is where the broker listens when nothing else is said.
const DefaultListen = "127.0.0.1:8477"

// defaults are the settings in force where nobody sets anything. The built-in
// resources are not among them: they depend on the cloud.
func defaults() map[string]any {
	return map[string]any{
		"listen": DefaultListen,
		"cloud":  string(CloudGlobal),
		"store":  string(StoreAuto),
		"dialects": map[string]any{
			"managed_identity": true, "azd": true, "sidecar": true, "sidecar_unauthenticated": false,
		},
		"notify":    map[string]any{"event_log": true},
		"audit":     map[string]any{"file": true, "event_log": false},
		"telemetry": map[string]any{"log_level": "info", "log_format": "auto"},
	}
}

// App is the app registration that the account of that name signs in with: its
// own tenant and client ID where the alias has them, else the general ones.
func (c *Config) App(account string) token.App {
	app := token.App{Authority: c.AuthorityURL(), Tenant: c.Tenant, ClientID: c.ClientID}
	if a, ok := c.Accounts[account]; ok {
		if a.Tenant != "" {
			app.Tenant = a.Tenant
		}
		if a.ClientID != "" {
			app.ClientID = a.ClientID
		}
	}
	return app
}

// Canonical turns what a person or a consumer calls an account, an alias or a
// user name in any case, into the account's name. It does not say whether
// anybody is signed in under it.
func (c *Config) Canonical(account string) string {
	if _, ok := c.Accounts[account]; ok {
		return account
	}
	if aliases := c.aliasesOf(account); len(aliases) == 1 {
		return aliases[0]
	}
	return strings.ToLower(account)
}

// aliasesOf lists, in name order, the aliases whose user name is username.
func (c *Config) aliasesOf(username string) []string {
	var found []string
	for _, alias := range sortedKeys(c.Accounts) {
		if username != "" && strings.EqualFold(c.Accounts[alias].Username, username) {
			found = append(found, alias)
		}
	}
	return found
}
