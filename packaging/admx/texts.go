package main

import "github.com/m365-token-broker/broker/internal/config"

// setting is what the schema cannot say about a setting of the broker.
type setting struct {
	key      string
	category string
	title    string
	text     string
	max      int    // characters of a text, or of a line of a list
	example  string // "" = the schema's; those of paths are not Windows'
}

// The categories under "M365 Token Broker", and again under its "Mandatory".
var categories = [...]struct{ id, title string }{
	{"SignIn", "Sign-in"},
	{"Listeners", "Listeners"},
	{"Store", "Store"},
	{"Dialects", "Dialects"},
	{"Notifications", "Notifications"},
	{"Audit", "Audit"},
	{"Telemetry", "Telemetry"},
}

// notOnWindows are settings that Windows refuses, and so no policy offers them.
var notOnWindows = map[string]string{
	"socket":       "Unix sockets are for Linux and macOS",
	"socket_group": "Unix sockets are for Linux and macOS",
}

// elsewhere are values that Windows refuses: the keyring of Linux desktops.
var elsewhere = []config.Store{config.StoreSecretService}

// valueTitles say what the values of a dropdown mean.
var valueTitles = map[string]string{
	"cloud=global":              "global: worldwide, and GCC",
	"cloud=gcchigh":             "gcchigh: US Government GCC High",
	"cloud=dod":                 "dod: US Government DoD",
	"cloud=china":               "china: operated by 21Vianet",
	"store=auto":                "auto: the platform's own, Windows Credential Manager",
	"store=wincred":             "wincred: Windows Credential Manager",
	"store=file":                "file: an encrypted file in the state directory",
	"store=memory":              "memory: nowhere; sign-ins end with the broker",
	"telemetry.log_level=debug": "debug: everything, for a search of faults",
	"telemetry.log_level=info":  "info: what happens",
	"telemetry.log_level=warn":  "warn: what is worth a look",
	"telemetry.log_level=error": "error: what went wrong",
	"telemetry.log_format=auto": "auto: text in a terminal, JSON elsewhere",
	"telemetry.log_format=text": "text",
	"telemetry.log_format=json": "json",
}

var settings = [...]setting{
	{
		key: "tenant", category: "SignIn", title: "Tenant", max: 253,
		text: "The organisation whose accounts sign in: the tenant's ID (a GUID), or one of its domains. The Entra admin center shows both under Overview. The broker serves one organisation, so that \"common\", \"organizations\" and \"consumers\" are refused. Needed, here or in broker.yaml.",
	},
	{
		key: "client_id", category: "SignIn", title: "Application (client) ID", max: 128,
		text: "The app registration that accounts sign in with: its application (client) ID. It is a public client of your own; broker init prints the commands that register it. Needed, here or in broker.yaml.",
	},
	{
		key: "cloud", category: "SignIn", title: "Microsoft cloud",
		text: "Which Microsoft cloud the organisation is in. It decides the hosts of sign-in, Microsoft Graph and Exchange Online.",
	},
	{
		key: "authority", category: "SignIn", title: "Login host", max: 255,
		text: "Another login host than the cloud's own, as https://host or https://host:port, for private clouds and tests.",
	},
	{
		key: "ca_file", category: "SignIn", title: "Extra root certificates", max: 260, example: `C:\ProgramData\M365TokenBroker\corporate.pem`,
		text: "The full path of a file with extra root certificates in PEM form, where TLS is inspected on the way to the internet. Certificates that Windows trusts need not be in it.",
	},
	{
		key: "proxy_url", category: "SignIn", title: "Outbound proxy", max: 255,
		text: "The proxy to the internet: http://host:port, https://host:port or socks5://host:port. Not set, the environment variables HTTPS_PROXY and NO_PROXY say so. A user name or password in it is refused, because every user of the computer can read its policy; set such an address in broker.yaml.",
	},
	{
		key: "listen", category: "Listeners", title: "Address of the API", max: 64,
		text: "Where programs reach the broker: an address of this computer (127.0.0.1, [::1] or localhost) with a port. Other addresses are refused.",
	},
	{
		key: "pipe", category: "Listeners", title: "Named pipe", max: 249,
		text: `The name of a named pipe with the same API: \\.\pipe\ and a name. Who may open it, besides the broker's own account, says the policy "Who may open the named pipe".`,
	},
	{
		key: "pipe_users", category: "Listeners", title: "Who may open the named pipe", max: 256, example: `CONTOSO\svc-crm`,
		text: "Accounts or groups, by name or SID, one a line. They may connect to the named pipe; what they get there is what the key of a consumer allows.",
	},
	{
		key: "store", category: "Store", title: "Where sign-ins are kept",
		text: "The place of refresh tokens and keys.",
	},
	{
		key: "dialects.managed_identity", category: "Dialects", title: "Managed identity endpoint",
		text: "Whether the broker answers programs that ask for a managed identity (IDENTITY_ENDPOINT), as the Azure SDKs do.",
	},
	{
		key: "dialects.azd", category: "Dialects", title: "Azure Developer CLI endpoint",
		text: "Whether the broker answers programs that take tokens from the Azure Developer CLI (AZD_AUTH_ENDPOINT).",
	},
	{
		key: "dialects.sidecar", category: "Dialects", title: "Microsoft Entra sidecar",
		text: "Whether the broker answers as the Microsoft Entra sidecar does (/AuthorizationHeader and /DownstreamApi).",
	},
	{
		key: "dialects.sidecar_unauthenticated", category: "Dialects", title: "Microsoft Entra sidecar without a key",
		text: "Whether programs that present no key may use the sidecar's unauthenticated routes, with the rights of the consumer \"unauthenticated\". Off is the safe choice; programs that broker exec starts need it not.",
	},
	{
		key: "notify.webhook", category: "Notifications", title: "Webhook", max: 1023,
		text: "An https address that is told when somebody is needed, for example when an account has to sign in again. Every user of the computer can read its policy: an address that is a secret in itself belongs into broker.yaml.",
	},
	{
		key: "notify.webhook_secret_file", category: "Notifications", title: "File with the webhook's secret", max: 260, example: `C:\ProgramData\M365TokenBroker\webhook.secret`,
		text: "The full path of a file, for the broker's account only, whose text signs what the webhook gets.",
	},
	{
		key: "notify.command", category: "Notifications", title: "Command", max: 1023, example: `C:\Hooks\tell.exe`,
		text: "A program that is started when somebody is needed: its full path in the first line, each argument in a line of its own. There is no shell.",
	},
	{
		key: "notify.event_log", category: "Notifications", title: "Notifications in the event log",
		text: "Whether what needs somebody is also an event of the source M365TokenBroker in the Windows event log.",
	},
	{
		key: "audit.file", category: "Audit", title: "Audit log",
		text: "Whether it is written down who got which token and who was refused: in the state directory, in a log whose lines are chained.",
	},
	{
		key: "audit.event_log", category: "Audit", title: "Audit log in the event log",
		text: "Whether each line of the audit log is also an event in the Windows event log.",
	},
	{
		key: "telemetry.log_level", category: "Telemetry", title: "Log level",
		text: "The least severity that is logged.",
	},
	{
		key: "telemetry.log_format", category: "Telemetry", title: "Log format",
		text: "The form of the log's lines.",
	},
}
