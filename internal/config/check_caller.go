package config

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// This file checks what is demanded of a program that calls, besides a key, and
// the ways in other than the loopback address.

// maxSocketPath is what every system allows for the path of a Unix socket, in
// bytes: sun_path holds 104 on macOS and the BSDs, 108 on Linux, with a NUL.
const maxSocketPath = 103

var pipePattern = regexp.MustCompile(`^\\\\\.\\pipe\\[^\\/:*?"<>|]{1,240}$`)

// local checks the Unix socket and the named pipe.
func (k checker) local() {
	c := k.c
	switch path, ok := k.absolute("socket", c.Socket); {
	case c.Socket == "" && c.SocketGroup != "":
		k.wrong("socket_group", `is of no use without a socket; add socket: /run/m365-token-broker/broker.sock, or remove it`)
	case c.Socket == "" || !ok:
	case k.goos == "windows":
		k.wrong("socket", `is for Linux and macOS; on Windows use pipe: '\\.\pipe\m365-token-broker', which has an access list of its own`)
	case len(path) > maxSocketPath:
		k.wrong("socket", "is longer than %d bytes, and the system takes no longer path for a socket; choose a shorter one", maxSocketPath)
	default:
		c.Socket = path
	}
	switch {
	case c.Pipe == "" && len(c.PipeUsers) > 0:
		k.wrong("pipe_users", `are of no use without a pipe; add pipe: '\\.\pipe\m365-token-broker', or remove them`)
	case c.Pipe == "":
	case k.goos != "windows":
		k.wrong("pipe", "is for Windows, and this is %s; use socket: /run/m365-token-broker/broker.sock", k.goos)
	case !pipePattern.MatchString(c.Pipe):
		k.wrong("pipe", `%q is not the name of a pipe; write \\.\pipe\ and a name without \ / : * ? " < > and |, such as '\\.\pipe\m365-token-broker'`, c.Pipe)
	}
	for i, user := range c.PipeUsers {
		switch at := key("pipe_users").item(i); {
		case user == "":
			k.wrong(at, `is empty; write an account, a group or a SID, such as CONTOSO\svc-crm`)
		case slices.ContainsFunc(c.PipeUsers[:i], func(other string) bool { return strings.EqualFold(other, user) }):
			k.wrong(at, "%q is in the list already; remove it", user)
		}
	}
}

// caller checks what a consumer's program must be, and when it may ask.
func (k checker) caller(at key, c *Consumer) {
	if where := at.in("executable"); c.Executable != "" && !IsAbsolute(c.Executable) {
		k.wrong(where, "%q is not an absolute path; write it in full, such as /opt/crm/sync or C:\\Crm\\sync.exe", c.Executable)
	}
	c.SHA256 = strings.ToLower(c.SHA256)
	if where := at.in("sha256"); c.SHA256 != "" && !sha256Pattern.MatchString(c.SHA256) {
		k.wrong(where, "is not the SHA-256 of a file in hex (64 digits of 0-9 and a-f; it has %d characters); `broker consumers add --sha256 auto` finds it", len(c.SHA256))
	}
	k.ownClient(at, c)
}

// ownClient wants every account of a consumer to be signed in with the app
// registration that the consumer asks for: a token belongs to one app, and the
// broker can make no other out of it.
func (k checker) ownClient(at key, c *Consumer) {
	where := at.in("client_id")
	k.clientID(where, c.ClientID)
	if c.ClientID == "" {
		return
	}
	for _, account := range c.Accounts {
		if strings.EqualFold(k.c.App(account).ClientID, c.ClientID) {
			continue
		}
		username, alias := account, at.name()
		if a, ok := k.c.Accounts[account]; ok {
			username, alias = a.Username, account+"-"+at.name()
		}
		if username == "" {
			username = "NAME@DOMAIN"
		}
		k.wrong(where, "is not the app that account %s is signed in with; add accounts: {%s: {username: %s, client_id: %s}}, give this consumer the account %s instead, and sign it in with `broker login --account %s`",
			account, alias, username, c.ClientID, alias, alias)
	}
}

// sink wants it to be clear which token a file is for, and whose file it is.
func (k checker) sink(at key, c *Consumer, owner map[string]key) {
	where := at.in("sink")
	switch same := k.samePath(c.Sink); {
	case c.Sink == "":
		if c.SinkFormat != "" {
			k.wrong(at.in("sink_format"), "is of no use without a sink; add sink: /run/crm/token, or remove it")
		}
		return
	case !IsAbsolute(c.Sink):
		k.wrong(where, "%q is not an absolute path; write it in full, such as /run/crm/token or C:\\ProgramData\\Crm\\token", c.Sink)
	case len(c.Accounts) != 1 || len(c.Resources) != 1:
		k.wrong(where, "holds one token, and this consumer has %d accounts and %d resources; give it exactly one of each", len(c.Accounts), len(c.Resources))
	case owner[same] != "":
		k.wrong(where, "is the file of %s too; every sink needs a file of its own", owner[same])
	default:
		owner[same] = at
	}
	if c.SinkFormat == "" {
		c.SinkFormat = SinkRaw
	}
}

// samePath is a form in which two ways to write one path are alike.
func (k checker) samePath(p string) string {
	if k.goos == "windows" {
		p = strings.ToLower(strings.ReplaceAll(p, `\`, "/"))
	}
	return path.Clean(p)
}

// openConsumer is the consumer that programs without a key are.
const openConsumer = "unauthenticated"

// unkeyed says where the sidecar's open route leads nowhere.
func (k checker) unkeyed() {
	const at = key("dialects/sidecar_unauthenticated")
	if _, ok := k.c.Consumers[openConsumer]; k.c.Dialects.SidecarUnauthenticated && !ok {
		k.warn(k.sources[at], at, "is on, but there is no consumer "+openConsumer+", so that programs without a key get no token; run `broker consumers add "+openConsumer+" --account NAME --resource NAME`")
	}
}
