package config

import (
	"strings"
	"testing"
)

// TestCallerRefusals are the texts about who may call, word for word.
func TestCallerRefusals(t *testing.T) {
	const base = "accounts: {ops: {username: ops@contoso.com}}\n"
	const rights = "key_sha256: [], accounts: [ops], resources: [graph]"
	long := "/run/" + strings.Repeat("x", maxSocketPath)
	tests := []struct {
		name, goos, yaml, want string
	}{
		{"socket on Windows", "windows", "socket: /run/b.sock", `broker.yaml:2: socket: is for Linux and macOS; on Windows use pipe: '\\.\pipe\m365-token-broker', which has an access list of its own`},
		{"socket too long", "linux", "socket: " + long, `broker.yaml:2: socket: is longer than 103 bytes, and the system takes no longer path for a socket; choose a shorter one`},
		{"group without socket", "linux", "socket_group: mail", `broker.yaml:2: socket_group: is of no use without a socket; add socket: /run/m365-token-broker/broker.sock, or remove it`},
		{"pipe elsewhere", "linux", `pipe: '\\.\pipe\b'`, `broker.yaml:2: pipe: is for Windows, and this is linux; use socket: /run/m365-token-broker/broker.sock`},
		{"pipe name", "windows", `pipe: 'C:\pipe\b'`, `broker.yaml:2: pipe: "C:\\pipe\\b" is not the name of a pipe; write \\.\pipe\ and a name without \ / : * ? " < > and |, such as '\\.\pipe\m365-token-broker'`},
		{"pipe of another machine", "windows", `pipe: '\\server\pipe\b'`, `broker.yaml:2: pipe: "\\\\server\\pipe\\b" is not the name of a pipe; write \\.\pipe\ and a name without \ / : * ? " < > and |, such as '\\.\pipe\m365-token-broker'`},
		{"pipe with folders", "windows", `pipe: '\\.\pipe\a\b'`, `broker.yaml:2: pipe: "\\\\.\\pipe\\a\\b" is not the name of a pipe; write \\.\pipe\ and a name without \ / : * ? " < > and |, such as '\\.\pipe\m365-token-broker'`},
		{"users without pipe", "windows", `pipe_users: [svc]`, `broker.yaml:2: pipe_users: are of no use without a pipe; add pipe: '\\.\pipe\m365-token-broker', or remove them`},
		{"pipe users twice", "windows", `pipe_users: ['C\svc', 'c\SVC']` + "\n" + `pipe: '\\.\pipe\b'`, `broker.yaml:2: pipe_users[1]: "c\\SVC" is in the list already; remove it`},
		{"pipe user empty", "windows", `pipe_users: ['']` + "\n" + `pipe: '\\.\pipe\b'`, `broker.yaml:2: pipe_users[0]: is empty; write an account, a group or a SID, such as CONTOSO\svc-crm`},

		{"executable", "linux", "consumers: {c: {" + rights + ", executable: sync}}", `broker.yaml:2: consumers.c.executable: "sync" is not an absolute path; write it in full, such as /opt/crm/sync or C:\Crm\sync.exe`},
		{"sha256", "linux", "consumers: {c: {" + rights + ", sha256: abc}}", "broker.yaml:2: consumers.c.sha256: is not the SHA-256 of a file in hex (64 digits of 0-9 and a-f; it has 3 characters); `broker consumers add --sha256 auto` finds it"},
		{"hours", "linux", "consumers: {c: {" + rights + ", hours: office}}", `broker.yaml:2: consumers.c.hours: "office" are not hours; write days and times, such as "mon-fri 07:00-19:00", and several with commas: "mon-fri 07:00-19:00, sat 08:00-12:00" (times alone are every day)`},

		{"client of an alias", "linux", "consumers: {crm: {" + rights + ", client_id: " + guid + "}}", "broker.yaml:2: consumers.crm.client_id: is not the app that account ops is signed in with; add accounts: {ops-crm: {username: ops@contoso.com, client_id: " + guid + "}}, give this consumer the account ops-crm instead, and sign it in with `broker login --account ops-crm`"},
		{"client of a user name", "linux", "consumers: {crm: {key_sha256: [], accounts: [Ann@contoso.com], resources: [graph], client_id: " + guid + "}}", "broker.yaml:2: consumers.crm.client_id: is not the app that account ann@contoso.com is signed in with; add accounts: {crm: {username: ann@contoso.com, client_id: " + guid + "}}, give this consumer the account crm instead, and sign it in with `broker login --account crm`"},
		{"client of whoever signs in", "linux", "consumers: {crm: {key_sha256: [], accounts: [any], resources: [graph], client_id: " + guid + "}}", "broker.yaml:2: consumers.crm.client_id: is not the app that account any is signed in with; add accounts: {any-crm: {username: NAME@DOMAIN, client_id: " + guid + "}}, give this consumer the account any-crm instead, and sign it in with `broker login --account any-crm`"},
		{"client no GUID", "linux", "consumers: {crm: {key_sha256: [], client_id: x}}", `broker.yaml:2: consumers.crm.client_id: "x" is not a GUID; use the "Application (client) ID" of your app registration`},

		{"sink", "linux", "consumers: {c: {" + rights + ", sink: token}}", `broker.yaml:2: consumers.c.sink: "token" is not an absolute path; write it in full, such as /run/crm/token or C:\ProgramData\Crm\token`},
		{"sink of two", "linux", "consumers: {c: {key_sha256: [], accounts: [ops], resources: [graph, ews], sink: /run/t}}", `broker.yaml:2: consumers.c.sink: holds one token, and this consumer has 1 accounts and 2 resources; give it exactly one of each`},
		{"sink of nothing", "linux", "consumers: {c: {key_sha256: [], sink: /run/t}}", `broker.yaml:2: consumers.c.sink: holds one token, and this consumer has 0 accounts and 0 resources; give it exactly one of each`},
		{"sink twice", "linux", "consumers: {c: {" + rights + ", sink: /run/t}, d: {" + rights + ", sink: /run/x/../t}}", `broker.yaml:2: consumers.d.sink: is the file of consumers.c too; every sink needs a file of its own`},
		{"sink twice on Windows", "windows", `consumers: {c: {` + rights + `, sink: 'C:\run\t'}, d: {` + rights + `, sink: 'c:/RUN/t'}}`, `broker.yaml:2: consumers.d.sink: is the file of consumers.c too; every sink needs a file of its own`},
		{"sink format", "linux", "consumers: {c: {" + rights + ", sink: /run/t, sink_format: xml}}", `broker.yaml:2: consumers.c.sink_format: "xml" is not one of raw, json or header`},
		{"sink format alone", "linux", "consumers: {c: {" + rights + ", sink_format: raw}}", `broker.yaml:2: consumers.c.sink_format: is of no use without a sink; add sink: /run/crm/token, or remove it`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			accounts := base
			if strings.Contains(tt.yaml, "[any]") {
				accounts = "accounts: {any: {}}\n"
			}
			h := newHome(t, map[string]string{"broker.yaml": accounts + tt.yaml + "\nclient_id: " + appID + "\n"})
			o := h.options()
			o.GOOS = tt.goos
			_, err := Load(o)
			if err == nil {
				t.Fatal("accepted")
			}
			if got := h.plain(err.Error()); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestCallerAccepted: what is right, and the form it is kept in.
func TestCallerAccepted(t *testing.T) {
	consumer := func(f func(Consumer) string) func(*Config) string {
		return func(c *Config) string { return f(c.Consumers["c"]) }
	}
	const rights = "key_sha256: [], accounts: [ops@contoso.com], resources: [graph]"
	tests := []struct {
		name, goos, yaml string
		value            func(*Config) string
		want             string
	}{
		{"pipe", "windows", `pipe: '\\.\pipe\m365'` + "\n" + `pipe_users: ['CONTOSO\svc', S-1-5-32-545]`, func(c *Config) string { return c.Pipe + " " + strings.Join(c.PipeUsers, " ") }, `\\.\pipe\m365 CONTOSO\svc S-1-5-32-545`},
		{"sha256", "linux", "consumers: {c: {" + rights + ", sha256: " + strings.ToUpper(digest("a")) + "}}", consumer(func(c Consumer) string { return c.SHA256 }), digest("a")},
		{"user", "linux", `consumers: {c: {` + rights + `, user: 'CONTOSO\svc'}}`, consumer(func(c Consumer) string { return c.User }), `CONTOSO\svc`},
		{"user ID in quotes", "linux", `consumers: {c: {` + rights + `, user: "1000"}}`, consumer(func(c Consumer) string { return c.User }), `1000`},
		{"hours", "linux", "consumers: {c: {" + rights + `, hours: "mon-fri  07:00-19:00"}}`, consumer(func(c Consumer) string { return c.Hours.String() }), "mon-fri 07:00-19:00"},
		{"sink", "linux", "consumers: {c: {" + rights + ", sink: /run/t}}", consumer(func(c Consumer) string { return c.Sink + " " + string(c.SinkFormat) }), "/run/t raw"},
		{"sink as header", "windows", `consumers: {c: {` + rights + `, sink: 'C:\t', sink_format: header}}`, consumer(func(c Consumer) string { return c.Sink + " " + string(c.SinkFormat) }), `C:\t header`},
		{"client of all", "linux", "consumers: {c: {" + rights + ", client_id: " + strings.ToUpper(appID) + "}}", consumer(func(c Consumer) string { return c.ClientID }), strings.ToUpper(appID)},
		{"client of an alias", "linux", "accounts: {own: {client_id: " + guid + "}}\nconsumers: {c: {key_sha256: [], accounts: [own], resources: [graph], client_id: " + guid + "}}", consumer(func(c Consumer) string { return c.ClientID }), guid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newHome(t, map[string]string{"broker.yaml": tt.yaml + "\nclient_id: " + appID + "\n"}).options()
			o.GOOS = tt.goos
			l, err := Load(o)
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.value(&l.Config); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A socket's path counts from the file that names it.
func TestSocketPath(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": "socket: b.sock\nsocket_group: mail\n"})
	o := h.options()
	o.GOOS = "linux"
	l, err := Load(o)
	switch tooLong := len(h.path("b.sock")) > maxSocketPath; {
	case tooLong && err == nil:
		t.Error("a path that is too long is accepted")
	case !tooLong && (err != nil || l.Config.Socket != h.path("b.sock") || l.Config.SocketGroup != "mail"):
		t.Errorf("%+v, %v", l, err)
	}
	for _, k := range []string{"socket", "socket_group", "pipe", "pipe_users", "dialects.azd"} {
		if !NeedsRestart(k) {
			t.Errorf("%s takes effect at once", k)
		}
	}
	if NeedsRestart("audit.file") {
		t.Error("audit.file needs a restart")
	}
	for _, k := range []string{"hours", "client_id", "executable", "sha256", "user", "sink", "sink_format"} {
		if NeedsRestart("consumers.crm." + k) {
			t.Errorf("consumers.crm.%s needs a restart", k)
		}
	}
}

// Programs without a key need a consumer to be.
func TestOpenSidecar(t *testing.T) {
	const on = "dialects: {sidecar_unauthenticated: true}\n"
	const want = "broker.yaml:1: dialects.sidecar_unauthenticated: is on, but there is no consumer unauthenticated, so that programs without a key get no token; run `broker consumers add unauthenticated --account NAME --resource NAME`"
	h := newHome(t, map[string]string{"broker.yaml": on})
	if w := h.load().Warnings; len(w) != 1 || h.plain(w[0]) != want {
		t.Errorf("warnings %q", w)
	}
	h.write("broker.yaml", on+"consumers: {unauthenticated: {key_sha256: [], accounts: [a@b.com], resources: [graph]}}\n")
	if w := h.load().Warnings; len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

// The drop-in of a consumer keeps all that ties it.
func TestSaveConsumerKeepsWhatTies(t *testing.T) {
	h := newHome(t, map[string]string{"broker.yaml": minimal})
	var hours Hours
	if err := hours.UnmarshalText([]byte("mon-fri 07:00-19:00, sat 22:00-02:00")); err != nil {
		t.Fatal(err)
	}
	want := Consumer{
		KeySHA256: []string{digest("a")}, Accounts: []string{"ops@contoso.com"}, Resources: []string{"graph"},
		Executable: `C:\Crm\sync.exe`, SHA256: digest("b"), User: `CONTOSO\svc`, Hours: hours, ClientID: appID, Sink: `C:\Crm\token`, SinkFormat: SinkHeader,
	}
	if _, err := h.load().SaveConsumer("crm", want); err != nil {
		t.Fatal(err)
	}
	got := h.load().Config.Consumers["crm"]
	if !got.Hours.Equal(hours) || got.Hours.Contains(moment(t, "sun 12:00:00")) || got.SHA256 != want.SHA256 || got.User != want.User ||
		got.ClientID != want.ClientID || got.Sink != want.Sink || got.SinkFormat != want.SinkFormat || got.Executable != want.Executable {
		t.Errorf("got %+v", got)
	}
}
