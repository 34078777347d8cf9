package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/m365-token-broker/broker/internal/token"
)

const (
	guid    = "11111111-2222-3333-4444-555555555555"
	appID   = "66666666-7777-8888-9999-000000000000"
	minimal = "tenant: " + guid + "\nclient_id: " + appID + "\n"
)

// home is a directory with the given files; broker.yaml is the config file.
type home struct {
	t   *testing.T
	dir string
}

func newHome(t *testing.T, files map[string]string) home {
	t.Helper()
	h := home{t: t, dir: t.TempDir()}
	for name, text := range files {
		h.write(name, text)
	}
	return h
}

func (h home) path(name string) string { return filepath.Join(h.dir, filepath.FromSlash(name)) }

func (h home) write(name, text string) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.path(name)), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h home) options(environ ...string) Options {
	return Options{ConfigPath: h.path("broker.yaml"), StateDir: h.path("state"), Environ: environ}
}

func (h home) load(environ ...string) *Loaded {
	h.t.Helper()
	l, err := Load(h.options(environ...))
	if err != nil {
		h.t.Fatalf("Load:\n%v", err)
	}
	return l
}

// plain takes the directory out of texts and makes Windows' paths look alike.
func (h home) plain(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, h.dir+string(filepath.Separator), ""), `conf.d\`, "conf.d/")
}

// userEnv makes the directory the user's config dir, on any system.
func (h home) userEnv(more ...string) []string {
	return append([]string{"HOME=" + h.dir, "XDG_CONFIG_HOME=" + h.dir, "AppData=" + h.dir, "LocalAppData=" + h.dir}, more...)
}

func digest(c string) string { return strings.Repeat(c, 64) }

// contractExample is broker.yaml as the documentation shows it.
const contractExample = `listen: 127.0.0.1:8477            # loopback addresses only; anything else is refused at start
cloud: global                     # global | gcchigh | dod | china: login, Graph and Outlook hosts follow
tenant: 11111111-2222-3333-4444-555555555555   # GUID or domain; a domain is resolved to the GUID once
client_id: 66666666-7777-8888-9999-000000000000
authority: ""
ca_file: ""
proxy_url: ""
store: auto
accounts:
  ops: {username: ops@contoso.com}
resources:
  graph: {scopes: ["https://graph.microsoft.com/.default"], base_url: "https://graph.microsoft.com"}
  ews:   {scopes: ["https://outlook.office365.com/EWS.AccessAsUser.All"], base_url: "https://outlook.office365.com"}
consumers:
  crm: {key_sha256: ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"], accounts: [ops], resources: [graph, ews], mapi: [archive], rate: 50/s, executable: "C:\\Crm\\sync.exe"}
mapi:
  archive: {profile: Outlook, mode: cached, policy: nudge}
dialects: {managed_identity: true, azd: true, sidecar: true, sidecar_unauthenticated: false}
telemetry: {log_level: info, log_format: auto}
`

func TestContractExample(t *testing.T) {
	l := newHome(t, map[string]string{"broker.yaml": contractExample}).load()
	if len(l.Warnings) != 0 {
		t.Errorf("warnings: %q", l.Warnings)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("Ready: %v", err)
	}
	want := Consumer{
		KeySHA256: []string{digest("a")}, Accounts: []string{"ops"}, Resources: []string{"graph", "ews"}, MAPI: []string{"archive"},
		Rate: Rate{Count: 50, Per: 1e9, Burst: 50}, Executable: `C:\Crm\sync.exe`,
	}
	if diff := cmp.Diff(want, l.Config.Consumers["crm"]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Target{Profile: "Outlook", Mode: ModeCached, Policy: PolicyNudge, Notice: true}, l.Config.MAPI["archive"]); diff != "" {
		t.Error(diff)
	}
	if got := sortedKeys(l.Config.Resources); !cmp.Equal(got, []string{"ews", "graph", "imap", "pop", "smtp"}) {
		t.Errorf("resources: %q", got)
	}
	wantApp := token.App{Authority: "https://login.microsoftonline.com", Tenant: guid, ClientID: appID}
	if got := l.Config.App("ops"); got != wantApp {
		t.Errorf("App = %+v", got)
	}
}

// TestRefusals holds the texts of single faults, word for word: they are what
// people read when something does not work.
func TestRefusals(t *testing.T) {
	const listen = "; listen on this machine only: 127.0.0.1:8477, [::1]:8477 or localhost:8477 (port 0 takes any free port)"
	const origin = "write https://host or https://host:port"
	const proxy = "; write http://host:port, https://host:port or socks5://host:port, where needed with user:password@ before the host"
	const rate = ` is not a rate; write a number per second, minute or hour, such as 50/s, 10/m or 1000/h, and where wanted a burst: "50/s burst 100"`
	const key = `c: {key_sha256: []`
	const hook = "; write https://host/path (http is allowed to 127.0.0.1, [::1] and localhost only)"
	tests := []struct{ name, yaml, want string }{
		{"listen all", "listen: 0.0.0.0:8477", `broker.yaml:1: listen: 0.0.0.0 would listen on every network interface` + listen},
		{"listen all IPv6", `listen: "[::]:8477"`, `broker.yaml:1: listen: :: would listen on every network interface` + listen},
		{"listen port only", `listen: ":8477"`, `broker.yaml:1: listen: ":8477" would listen on every network interface` + listen},
		{"listen host name", "listen: broker.example.com:8477", `broker.yaml:1: listen: "broker.example.com" is a host name` + listen},
		{"listen LAN", "listen: 192.168.1.5:8477", `broker.yaml:1: listen: 192.168.1.5 is not a loopback address` + listen},
		{"listen mapped", `listen: "[::ffff:127.0.0.1]:8477"`, `broker.yaml:1: listen: ::ffff:127.0.0.1 is not a loopback address` + listen},
		{"listen no port", "listen: 127.0.0.1", `broker.yaml:1: listen: "127.0.0.1" is not an address with a port` + listen},
		{"listen bad port", "listen: 127.0.0.1:http", `broker.yaml:1: listen: "http" is not a port from 0 to 65535` + listen},
		{"listen big port", "listen: 127.0.0.1:65536", `broker.yaml:1: listen: "65536" is not a port from 0 to 65535` + listen},
		{"listen empty", `listen: ""`, `broker.yaml:1: listen: "" is not an address with a port` + listen},
		{"cloud", "cloud: gcc-high", `broker.yaml:1: cloud: "gcc-high" is not one of global, gcchigh, dod or china; did you mean "gcchigh"?`},
		{"cloud far", "cloud: germany", `broker.yaml:1: cloud: "germany" is not one of global, gcchigh, dod or china`},
		{"tenant", "tenant: contoso", `broker.yaml:1: tenant: "contoso" is neither a tenant ID (a GUID) nor a domain such as contoso.com; the Entra admin center shows both under Overview`},
		{"tenant common", "tenant: common", `broker.yaml:1: tenant: "common" stands for any organisation, and the broker serves one, so that nobody of a stranger's tenant can be signed in; write the tenant's ID (a GUID; Entra admin center, Overview) or one of its domains, such as contoso.com`},
		{"tenant organizations", "tenant: Organizations", `broker.yaml:1: tenant: "Organizations" stands for any organisation, and the broker serves one, so that nobody of a stranger's tenant can be signed in; write the tenant's ID (a GUID; Entra admin center, Overview) or one of its domains, such as contoso.com`},
		{"tenant consumers", "tenant: consumers", `broker.yaml:1: tenant: "consumers" stands for any organisation, and the broker serves one, so that nobody of a stranger's tenant can be signed in; write the tenant's ID (a GUID; Entra admin center, Overview) or one of its domains, such as contoso.com`},
		{"tenant common elsewhere", "authority: https://h\ntenant: common", `broker.yaml:2: tenant: "common" stands for any organisation, and the broker serves one, so that nobody of a stranger's tenant can be signed in; write the tenant's ID (a GUID; Entra admin center, Overview) or one of its domains, such as contoso.com`},
		{"account tenant common", "accounts: {ops: {tenant: common}}", `broker.yaml:1: accounts.ops.tenant: "common" stands for any organisation, and the broker serves one, so that nobody of a stranger's tenant can be signed in; write the tenant's ID (a GUID; Entra admin center, Overview) or one of its domains, such as contoso.com`},
		{"account tenant organizations elsewhere", "authority: https://h\naccounts: {ops: {tenant: organizations}}", `broker.yaml:2: accounts.ops.tenant: "organizations" stands for any organisation, and the broker serves one, so that nobody of a stranger's tenant can be signed in; write the tenant's ID (a GUID; Entra admin center, Overview) or one of its domains, such as contoso.com`},
		{"tenant path", "authority: https://h\ntenant: a/b", `broker.yaml:2: tenant: "a/b" holds a character that cannot stand in a tenant's address; write the tenant's ID or one of its domains, such as contoso.com`},
		{"client ID", "client_id: my-app", `broker.yaml:1: client_id: "my-app" is not a GUID; use the "Application (client) ID" of your app registration`},
		{"client ID number", "client_id: 66666666", `broker.yaml:1: client_id: is a number, but must be text; put it in quotes`},
		{"authority http", "authority: http://login.example.com", `broker.yaml:1: authority: "http://login.example.com" is not https; sign-ins go over https only, so ` + origin},
		{"authority path", "authority: https://login.example.com/contoso", `broker.yaml:1: authority: "https://login.example.com/contoso" has something behind the host; the tenant goes into "tenant", so ` + origin},
		{"authority query", "authority: https://login.example.com?a=b", `broker.yaml:1: authority: "https://login.example.com?a=b" has something behind the host; the tenant goes into "tenant", so ` + origin},
		{"authority user", "authority: https://user:hunter2@login.example.com", `broker.yaml:1: authority: holds a user name or password; ` + origin},
		{"authority no URL", "authority: login.example.com", `broker.yaml:1: authority: is not a URL; ` + origin},
		{"authority port", "authority: https://login.example.com:99999", `broker.yaml:1: authority: "99999" is not a port from 1 to 65535; ` + origin},
		{"authority token", "authority: https://myTokens.example.com", `broker.yaml:1: authority: the host "myTokens.example.com" holds the word "token"; the Microsoft library replaces that word by "devicecode" to find the sign-in address, and so would ask another host; use another name for it, such as an alias in DNS`},
		{"ca_file none", "ca_file: none.pem", `broker.yaml:1: ca_file: none.pem cannot be read: it does not exist`},
		{"ca_file empty", "ca_file: broker.yaml", `broker.yaml:1: ca_file: broker.yaml holds no certificate; it must be in PEM form, with lines "-----BEGIN CERTIFICATE-----"`},
		{"proxy scheme", "proxy_url: ftp://user:hunter2@proxy", `broker.yaml:1: proxy_url: is not a http, https or socks5 URL` + proxy},
		{"proxy no URL", "proxy_url: http://user:hun/ter2@proxy:x", `broker.yaml:1: proxy_url: is not a URL (characters such as @, / and # in a password must be percent-encoded)` + proxy},
		{"proxy no host", "proxy_url: http://user:hunter2@", `broker.yaml:1: proxy_url: names no host` + proxy},
		{"proxy port", "proxy_url: http://user:hunter2@proxy:99999", `broker.yaml:1: proxy_url: has no valid port` + proxy},
		{"proxy path", "proxy_url: http://user:hunter2@proxy/x", `broker.yaml:1: proxy_url: has something behind the host` + proxy},
		{"store", "store: keychain", `broker.yaml:1: store: "keychain" is not one of auto, wincred, secret-service, file or memory`},
		{"store elsewhere", "store: wincred", `broker.yaml:1: store: "wincred" is the Credential Manager of Windows, and this is linux; use "auto", or "file"`},
		{"account name", "accounts: {Ops: {}}", `broker.yaml:1: accounts: "Ops" cannot be a name; a name has 1 to 64 characters of a-z, 0-9, ".", "_" and "-", and begins with a letter or a digit`},
		{"account is text", "accounts: {ops: ops@contoso.com}", `broker.yaml:1: accounts.ops: is text, but must be a section of keys`},
		{"account username", "accounts: {ops: {username: ops}}", `broker.yaml:1: accounts.ops.username: "ops" is not a user name; write it as it is typed at sign-in, such as ops@contoso.com`},
		{"account empty username", `accounts: {ops: {username: ""}}`, `broker.yaml:1: accounts.ops.username: is empty; write the user name, such as ops@contoso.com, or leave the key out to take whoever signs in as ops`},
		{"account tenant", "accounts: {ops: {tenant: x}}", `broker.yaml:1: accounts.ops.tenant: "x" is neither a tenant ID (a GUID) nor a domain such as contoso.com; the Entra admin center shows both under Overview`},
		{"account client", "accounts: {ops: {client_id: x}}", `broker.yaml:1: accounts.ops.client_id: "x" is not a GUID; use the "Application (client) ID" of your app registration`},
		{"account twice", "accounts:\n  a: {username: o@x.com}\n  b: {username: O@x.com}", `broker.yaml:3: accounts.b: is the same account as a (o@x.com); keep one of the two`},
		{"resource no scopes", "resources: {crm: {}}", `broker.yaml:1: resources.crm: has no scopes; add what a token for it is asked for, such as scopes: ["https://crm.example.com/.default"]`},
		{"resource empty scopes", "resources:\n  graph: {scopes: []}", `broker.yaml:2: resources.graph.scopes: no scope is given`},
		{"resource OIDC", "resources: {graph: {scopes: [openid, profile]}}", `broker.yaml:1: resources.graph.scopes: only the reserved scopes openid, profile, email and offline_access are given; they give no access to a resource`},
		{"resource audiences", `resources: {x: {scopes: ["https://a.com/r", "https://b.com/r"]}}`, `broker.yaml:1: resources.x.scopes: the scopes belong to two audiences; one access token can serve only one ("https://a.com/r" and "https://b.com/r")`},
		{"resource default and more", `resources: {x: {scopes: ["https://a.com/.default", "https://a.com/r"]}}`, `broker.yaml:1: resources.x.scopes: ".default" stands for every permission of the app and cannot be asked for together with others; keep one kind`},
		{"resource scopes text", "resources: {graph: {scopes: User.Read}}", `broker.yaml:1: resources.graph.scopes: is text, but must be a list of texts; for example scopes: ["https://graph.microsoft.com/.default"]`},
		{"resource http", "resources: {graph: {base_url: http://graph.example.com}}", `broker.yaml:1: resources.graph.base_url: "http://graph.example.com" would send tokens in clear; use https (http is allowed to 127.0.0.1, [::1] and localhost only)`},
		{"resource user", "resources: {graph: {base_url: https://u:hunter2@h}}", `broker.yaml:1: resources.graph.base_url: holds a user name or password; write https://host`},
		{"resource query", "resources: {graph: {base_url: https://h/?a}}", `broker.yaml:1: resources.graph.base_url: "https://h/?a" has a query or a fragment; write https://host or https://host/path`},
		{"resource no URL", "resources: {graph: {base_url: graph}}", `broker.yaml:1: resources.graph.base_url: is not a URL; write https://host`},
		{"consumer no key", "consumers: {c: {}}", "broker.yaml:1: consumers.c: has no key_sha256; `broker consumers add c` makes a key and writes it (key_sha256: [] locks a consumer out on purpose)"},
		{"consumer short hash", "consumers: {c: {key_sha256: [abc]}}", "broker.yaml:1: consumers.c.key_sha256[0]: is not a SHA-256 in hex (64 digits of 0-9 and a-f; it has 3 characters); `broker consumers rotate c` writes a right one"},
		{"consumer raw key", "consumers: {c: {key_sha256: [brk_hunter2]}}", "broker.yaml:1: consumers.c.key_sha256[0]: is a key itself; only its SHA-256 belongs into a file, so treat this key as known to others and run `broker consumers rotate c`"},
		{"consumer shared key", "consumers:\n  a: {key_sha256: [" + digest("a") + "]}\n  b: {key_sha256: [" + digest("A") + "]}", "broker.yaml:3: consumers.b.key_sha256[0]: is the key of consumers.a too; every consumer needs a key of its own"},
		{"consumer unknown account", "accounts: {ops: {}}\nconsumers: {" + key + ", accounts: [opps], resources: [graph]}}", `broker.yaml:2: consumers.c.accounts[0]: there is no account "opps"; did you mean "ops"?`},
		{"consumer account far", "consumers: {" + key + ", accounts: [mail], resources: [graph]}}", `broker.yaml:1: consumers.c.accounts[0]: there is no account "mail"; name an alias from "accounts", or write the user name, such as ops@contoso.com`},
		{"consumer bad user", "consumers: {" + key + ", accounts: [\"a@b@c\"], resources: [graph]}}", `broker.yaml:1: consumers.c.accounts[0]: "a@b@c" is neither an alias from "accounts" nor a user name such as ops@contoso.com`},
		{"consumer same account twice", "accounts: {ops: {username: o@x.com}}\nconsumers:\n  " + key + ", accounts: [ops,\n    O@X.com], resources: [graph]}", `broker.yaml:4: consumers.c.accounts[1]: "O@X.com" is the account ops, which is in the list already; remove it`},
		{"consumer ambiguous account", "accounts: {a: {username: o@x.com}, b: {username: o@x.com, tenant: x.com}}\nconsumers: {" + key + ", accounts: [o@x.com], resources: [graph]}}", `broker.yaml:2: consumers.c.accounts[0]: "o@x.com" is the user name of a and b; name the one you mean`},
		{"consumer resource", "consumers: {" + key + ", accounts: [o@x.com], resources: [grph]}}", `broker.yaml:1: consumers.c.resources[0]: there is no resource "grph"; did you mean "graph"?`},
		{"consumer resource far", "consumers: {" + key + ", accounts: [o@x.com], resources: [sharepoint]}}", `broker.yaml:1: consumers.c.resources[0]: there is no resource "sharepoint"; there is ews, graph, imap, pop or smtp`},
		{"consumer mapi", "consumers: {" + key + ", mapi: [archive]}}", `broker.yaml:1: consumers.c.mapi[0]: there is no MAPI target "archive"; none is configured`},
		{"consumer twice", "consumers: {" + key + ", accounts: [o@x.com], resources: [graph, graph]}}", `broker.yaml:1: consumers.c.resources[1]: "graph" is in the list already; remove it`},
		{"consumer rate", "consumers: {" + key + ", rate: 50/x}}", `broker.yaml:1: consumers.c.rate: "50/x"` + rate},
		{"consumer rate range", "consumers: {" + key + ", rate: 0/s}}", `broker.yaml:1: consumers.c.rate: "0/s" has a number out of range; both numbers of a rate go from 1 to 1000000 (leave the key out for no limit)`},
		{"consumer executable", "consumers: {" + key + ", executable: sync.exe}}", `broker.yaml:1: consumers.c.executable: "sync.exe" is not an absolute path; write it in full, such as /opt/crm/sync or C:\Crm\sync.exe`},
		{"consumer metrics", "consumers: {" + key + ", metrics: yes}}", `broker.yaml:1: consumers.c.metrics: is text, but must be true or false; for example metrics: true`},
		{"mapi profile", "mapi: {a: {mode: online}}", `broker.yaml:1: mapi.a: has no profile; add the name of the Outlook profile, as Control Panel, Mail, Show Profiles shows it`},
		{"mapi profile quote", `mapi: {a: {profile: 'x" /q'}}`, `broker.yaml:1: mapi.a.profile: holds a character that cannot be handed to Outlook safely (one of " / \); rename the profile`},
		{"mapi profile long", "mapi: {a: {profile: " + strings.Repeat("é", 65) + "}}", `broker.yaml:1: mapi.a.profile: is longer than 64 characters, which no Outlook profile is`},
		{"mapi mode", "mapi: {a: {profile: x, mode: cache}}", `broker.yaml:1: mapi.a.mode: "cache" is not one of cached or online; did you mean "cached"?`},
		{"mapi policy", "mapi: {a: {profile: x, policy: notify-only}}", `broker.yaml:1: mapi.a.policy: "notify-only" is not one of supervise, nudge or notify_only; did you mean "notify_only"?`},
		{"mapi service", `mapi: {a: {profile: x, service: 'C:\a.exe'}}`, `broker.yaml:1: mapi.a.service: is not the name of a Windows service, which has at most 256 characters and none of / and \; services.msc shows it as "Service name"`},
		{"mapi twice", "mapi:\n  a: {profile: Outlook, account: 'CONTOSO\\svc'}\n  b: {profile: OUTLOOK, account: 'contoso\\SVC'}", `broker.yaml:3: mapi.b: has the profile and the account of a; one profile is one target, so keep one of the two`},
		{"mapi twice ours", "mapi:\n  a: {profile: Outlook}\n  b: {profile: Outlook}", `broker.yaml:3: mapi.b: has the profile and the account of a; one profile is one target, so keep one of the two`},
		{"mapi probe", "mapi: {a: {profile: x, probe: yes}}", `broker.yaml:1: mapi.a.probe: is text, but must be true or false; for example probe: true`},
		{"notify webhook", "notify: {webhook: hooks.example.com/hunter2}", `broker.yaml:1: notify.webhook: is not a URL` + hook},
		{"notify webhook http", "notify: {webhook: \"http://hooks.example.com/hunter2\"}", `broker.yaml:1: notify.webhook: would send events in clear` + hook},
		{"notify webhook scheme", "notify: {webhook: \"ftp://127.0.0.1/hunter2\"}", `broker.yaml:1: notify.webhook: would send events in clear` + hook},
		{"notify webhook port", "notify: {webhook: \"https://hooks.example.com:99999/hunter2\"}", `broker.yaml:1: notify.webhook: has no valid port` + hook},
		{"notify webhook host", "notify: {webhook: \"https:///hunter2\"}", `broker.yaml:1: notify.webhook: is not a URL` + hook},
		{"notify secret none", "notify: {webhook: \"https://h\", webhook_secret_file: none}", `broker.yaml:1: notify.webhook_secret_file: none cannot be read: it does not exist`},
		{"notify secret short", "notify: {webhook: \"https://h\", webhook_secret_file: short}", "broker.yaml:1: notify.webhook_secret_file: short holds less than 16 characters, which could be guessed; fill it with `openssl rand -hex 32`"},
		{"notify secret long", "notify: {webhook: \"https://h\", webhook_secret_file: long}", `broker.yaml:1: notify.webhook_secret_file: long is larger than 4 KiB; name the file that holds the secret and nothing else`},
		{"notify secret directory", "notify: {webhook: \"https://h\", webhook_secret_file: .}", `broker.yaml:1: notify.webhook_secret_file: DIR cannot be read: it is a directory`},
		{"notify command", "notify: {command: [tell, --team]}", `broker.yaml:1: notify.command[0]: "tell" is not the absolute path of a program; write it in full, such as /opt/hooks/tell or C:\Hooks\tell.exe; there is no shell, so give each argument an item of its own`},
		{"notify command text", "notify: {command: /opt/hooks/tell}", `broker.yaml:1: notify.command: is text, but must be a list of texts; for example command: [/opt/hooks/tell, --team, mail]`},
		{"notify unknown", "notify: {slack: x}", `broker.yaml:1: notify.slack: unknown key; known keys here: webhook, webhook_secret_file, command or event_log`},
		{"telemetry text", "telemetry: debug", `broker.yaml:1: telemetry: is text, but must be a section of keys; for example telemetry: {log_level: info}`},
		{"log level", "telemetry: {log_level: warning}", `broker.yaml:1: telemetry.log_level: "warning" is not one of debug, info, warn or error; did you mean "warn"?`},
		{"unknown key", "store: file\n\ntennant: x", `broker.yaml:3: tennant: unknown key; did you mean "tenant"?`},
		{"unknown nested key", "consumers:\n  crm:\n    key_sha256: []\n    acounts: [ops]", `broker.yaml:4: consumers.crm.acounts: unknown key; did you mean "accounts"?`},
		{"key of a section", "log_level: debug", `broker.yaml:1: log_level: unknown key; it belongs under "telemetry"`},
		{"key of the top", "telemetry:\n  proxy_url: http://p", `broker.yaml:2: telemetry.proxy_url: unknown key; it belongs at the top of the file, without indentation`},
		{"key of nobody", "mapi: {a: {profile: x, password: hunter2}}", `broker.yaml:1: mapi.a.password: unknown key; known keys here: profile, mode, policy, account, service, probe or notice`},
		{"odd key", `"a b\n": 1`, `broker.yaml:1: "a b\n": unknown key; known keys here: listen, socket, socket_group, pipe, pipe_users, cloud, tenant, client_id, authority, ca_file, proxy_url, store, accounts, resources, consumers, mapi, notify, dialects, audit or telemetry`},
		{"duplicate key", "tenant: contoso.com\nstore: file\ntenant: contoso.com", `broker.yaml:3: tenant: is already set in line 1; keep one of the two`},
		{"duplicate name", "accounts:\n  ops: {}\n  ops: {}", `broker.yaml:3: accounts.ops: is already set in line 2; keep one of the two`},
		{"list for text", "store: [file]", `broker.yaml:1: store: is a list, but must be text; for example store: auto`},
		{"number in list", "consumers: {" + key + ", accounts: [7], resources: [graph]}}", `broker.yaml:1: consumers.c.accounts[0]: is a number, but must be text; put it in quotes`},
		{"list as file", "- a", `broker.yaml:1: is a list, but must be a section of keys`},
		{"anchor", "tenant: &t contoso.com", `broker.yaml:1: tenant: uses a YAML tag, anchor or alias, which is not supported here; write the value out`},
		{"tag", "tenant: !!str contoso.com", `broker.yaml:1: tenant: uses a YAML tag, anchor or alias, which is not supported here; write the value out`},
		{"line break", `tenant: "a\nb"`, `broker.yaml:1: tenant: holds a control character, such as a line break; write it on one line`},
		{"space", `tenant: " contoso.com"`, `broker.yaml:1: tenant: begins or ends with a space; remove it`},
		{"two documents", "store: file\n---\nstore: auto", `broker.yaml:3: begins a second YAML document; a configuration file is one document, so remove the "---"`},
		{"no YAML", "store: [file", `broker.yaml:1: is not valid YAML: sequence end token ']' not found`},
		{"no UTF-8", "store: \xff", `broker.yaml: is not UTF-8 text; save it as UTF-8`},
		{"too large", "# " + strings.Repeat("x", maxFile), `broker.yaml: is larger than 1 MiB; this cannot be a configuration file`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t, map[string]string{"broker.yaml": tt.yaml, "short": "hunter2\n", "long": strings.Repeat("x", secretMax+1)})
			o := h.options()
			o.GOOS = "linux" // for the stores
			l, err := Load(o)
			if err == nil {
				t.Fatalf("accepted: %+v", l.Config)
			}
			if got := strings.ReplaceAll(h.plain(err.Error()), h.dir, "DIR"); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the text holds a secret")
			}
			if token.KindOf(err) != token.KindConfiguration {
				t.Errorf("kind %v", token.KindOf(err))
			}
		})
	}
}

// TestAccepted are forms that look odd and are right.
func TestAccepted(t *testing.T) {
	tests := []struct {
		name, yaml string
		value      func(*Config) string
		want       string
	}{
		{"IPv6", `listen: "[::1]:8477"`, func(c *Config) string { return c.Listen }, "[::1]:8477"},
		{"any free port", "listen: 127.0.0.1:0", func(c *Config) string { return c.Listen }, "127.0.0.1:0"},
		{"other loopback", "listen: 127.9.8.7:1", func(c *Config) string { return c.Listen }, "127.9.8.7:1"},
		{"localhost", "listen: LOCALHOST:8477", func(c *Config) string { return c.Listen }, "localhost:8477"},
		{"domain", "tenant: contoso.onmicrosoft.com", func(c *Config) string { return c.Tenant }, "contoso.onmicrosoft.com"},
		{"private cloud", "authority: https://Login.Example.com:8443/\ntenant: adfs\nclient_id: my-app", func(c *Config) string { return c.AuthorityURL() + " " + c.Tenant + " " + c.ClientID }, "https://login.example.com:8443 adfs my-app"},
		{"proxy", "proxy_url: socks5://u:p@h:1080", func(c *Config) string { return c.ProxyURL.Reveal() }, "socks5://u:p@h:1080"},
		{"loopback http", "resources: {graph: {base_url: \"http://[::1]:80/x/\"}}", func(c *Config) string { return c.Resources["graph"].BaseURL }, "http://[::1]:80/x"},
		{"reserved scopes go", `resources: {x: {scopes: [openid, "https://a.com/r"]}}`, func(c *Config) string { return c.Resources["x"].Scopes.String() }, "https://a.com/r"},
		{"alias without user", "accounts: {ops: }", func(c *Config) string { return strings.Join(sortedKeys(c.Accounts), " ") }, "ops"},
		{"nothing behind a key", "accounts:\nca_file:\ntelemetry: {log_level: }", func(c *Config) string { return string(c.Telemetry.LogLevel) }, "info"},
		{"number as name", "accounts: {7: {username: A@B.com}}", func(c *Config) string { return c.Accounts["7"].Username }, "a@b.com"},
		{"byte order mark", "\xef\xbb\xbfstore: memory", func(c *Config) string { return string(c.Store) }, "memory"},
		{"Windows lines", "store: memory\r\ncloud: dod\r\n", func(c *Config) string { return string(c.Store) + string(c.Cloud) }, "memorydod"},
		{"empty file", "# nothing\n", func(c *Config) string { return c.Listen }, DefaultListen},
		{"user name in another case", "accounts: {ops: {username: Ops@Contoso.com}}\nconsumers: {c: {key_sha256: [], accounts: [OPS@contoso.com, Else@X.com], resources: [graph]}}", func(c *Config) string { return strings.Join(c.Consumers["c"].Accounts, " ") }, "ops else@x.com"},
		{"burst", "consumers: {c: {key_sha256: [], rate: 10/m burst 100}}", func(c *Config) string { return c.Consumers["c"].Rate.String() }, "10/m burst 100"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newHome(t, map[string]string{"broker.yaml": tt.yaml}).load()
			if got := tt.value(&l.Config); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAllProblemsTogether(t *testing.T) {
	h := newHome(t, map[string]string{
		"broker.yaml":        "cloud: moon\nlisten: 0.0.0.0:1\nfoo: 1\n",
		"conf.d/10.yaml":     "consumers: {a: {}}\n",
		"conf.d/20.yaml":     "store: [x\n",
		"conf.d/30.yaml":     "stor: x\n",
		"conf.d/.40.yaml":    "not: read\n",
		"conf.d/50.disabled": "not: read\n",
	})
	o := h.options("BROKER_TELEMETRY_LOG_LEVL=x", "BROKER_DIALECTS_AZD=maybe", "BROKER_NOTHING_KNOWN=1")
	o.Flags = []Override{
		{"--cloud", "cloud", "mon"},
		{"--set", "consumers.my.app.rat", "1/s"},
		{"--set", "telemetry", "x"},
		{"--set", "tenant.x", "x"},
		{"--set", "accounts.ops", "x"},
		{"--set", "nope", "x"},
	}
	_, err := Load(o)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error %v", err)
	}
	var got []string
	for _, p := range e.Problems {
		line, _, _ := strings.Cut(h.plain(p.String()), ";")
		got = append(got, line)
	}
	want := []string{
		`broker.yaml:1: cloud: "moon" is not one of global, gcchigh, dod or china`,
		`broker.yaml:2: listen: 0.0.0.0 would listen on every network interface`,
		`broker.yaml:3: foo: unknown key`,
		`conf.d/10.yaml:1: consumers.a: has no key_sha256`,
		`conf.d/20.yaml:1: is not valid YAML: sequence end token ']' not found`,
		`conf.d/30.yaml:1: stor: unknown key`,
		`BROKER_TELEMETRY_LOG_LEVL: is no setting of the broker`,
		`BROKER_DIALECTS_AZD: dialects.azd: must be true or false`,
		`BROKER_NOTHING_KNOWN: is no setting of the broker`,
		`--cloud: cloud: "mon" is not one of global, gcchigh, dod or china`,
		`--set: consumers.my.app.rat: unknown key`,
		`--set: telemetry: is a section`,
		`--set: tenant.x: unknown key`,
		`--set: accounts: needs a name and a key, such as accounts.NAME.username`,
		`--set: nope: unknown key`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCAFile(t *testing.T) {
	pemText := certificate(t)
	h := newHome(t, map[string]string{"broker.yaml": "ca_file: certs/ca.pem\n", "certs/ca.pem": "comment\n" + pemText})
	if got := h.load().Config.CAFile; got != h.path("certs/ca.pem") {
		t.Errorf("CAFile %q: a relative path counts from the file's directory", got)
	}
	h.write("certs/ca.pem", strings.Replace(pemText, "M", "N", 1))
	if _, err := Load(h.options()); err == nil || !strings.Contains(err.Error(), "certificate 1 of "+h.path("certs/ca.pem")+" is damaged") {
		t.Errorf("damaged certificate: %v", err)
	}
}

func certificate(t *testing.T) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestClouds(t *testing.T) {
	want := map[Cloud][]string{ // login, graph scope, ews scope, imap scope
		CloudGlobal:  {"https://login.microsoftonline.com", "https://graph.microsoft.com/.default", "https://outlook.office365.com/EWS.AccessAsUser.All", "https://outlook.office.com/IMAP.AccessAsUser.All"},
		CloudGCCHigh: {"https://login.microsoftonline.us", "https://graph.microsoft.us/.default", "https://outlook.office365.us/EWS.AccessAsUser.All", "https://outlook.office365.us/IMAP.AccessAsUser.All"},
		CloudDoD:     {"https://login.microsoftonline.us", "https://dod-graph.microsoft.us/.default", "https://outlook-dod.office365.us/EWS.AccessAsUser.All", "https://outlook-dod.office365.us/IMAP.AccessAsUser.All"},
		CloudChina:   {"https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn/.default", "https://partner.outlook.cn/EWS.AccessAsUser.All", "https://partner.outlook.cn/IMAP.AccessAsUser.All"},
	}
	for cloud, w := range want {
		h := newHome(t, map[string]string{"broker.yaml": "store: auto\n", "conf.d/x.yaml": "cloud: " + string(cloud) + "\n"})
		c := h.load().Config
		got := []string{c.AuthorityURL(), c.Resources["graph"].Scopes.String(), c.Resources["ews"].Scopes.String(), c.Resources["imap"].Scopes.String()}
		if diff := cmp.Diff(w, got); diff != "" {
			t.Errorf("%s: %s", cloud, diff)
		}
		if strings.Contains(c.AuthorityURL(), "token") {
			t.Errorf("%s: MSAL would break the login host", cloud)
		}
	}
}
