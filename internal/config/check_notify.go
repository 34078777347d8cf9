package config

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"runtime"
	"strings"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

func (k checker) notify() {
	k.webhook()
	k.webhookSecret()
	k.notifyCommand()
}

// webhook never shows the value: such addresses hold tokens.
func (k checker) webhook() {
	const at, rule = key("notify/webhook"), "write https://host/path (http is allowed to 127.0.0.1, [::1] and localhost only)"
	raw := secretText(k.c.Notify.Webhook)
	if raw == "" {
		return
	}
	switch u, err := url.Parse(raw); {
	case err != nil || u.Hostname() == "":
		k.wrong(at, "is not a URL; %s", rule)
	case badPort(u):
		k.wrong(at, "has no valid port; %s", rule)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		k.wrong(at, "would send events in clear; %s", rule)
	}
}

// The bounds of the webhook's secret, in characters and bytes.
const (
	secretMin = 16
	secretMax = 4 << 10
)

// webhookSecret makes the path absolute and holds the file to the rules by which
// it will be read.
func (k checker) webhookSecret() {
	const at = key("notify/webhook_secret_file")
	n := &k.c.Notify
	if n.WebhookSecretFile == "" {
		return
	}
	path, ok := k.absolute(at, n.WebhookSecretFile)
	if !ok {
		return
	}
	n.WebhookSecretFile = path
	if n.Webhook.IsZero() {
		k.warn(k.sources[at], at, "is not used, because notify.webhook is not set")
	}
	data, err := readOwned(path)
	switch {
	case isAccess(err):
		k.wrong(at, "%v", err) // names the path, and the command that mends it
	case err != nil:
		k.wrong(at, "%s cannot be read: %s", path, reason(err))
	case len(data) > secretMax:
		k.wrong(at, "%s is larger than 4 KiB; name the file that holds the secret and nothing else", path)
	case len(bytes.TrimSpace(data)) < secretMin:
		k.wrong(at, "%s holds less than %d characters, which could be guessed; fill it with `openssl rand -hex 32`", path, secretMin)
	}
}

func isAccess(err error) bool {
	_, ok := errors.AsType[*ownerfile.AccessError](err)
	return ok
}

// readOwned reads the beginning of a file that is its owner's alone.
func readOwned(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errIsDir
	}
	if err := ownerfile.Check(path, info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, secretMax+1))
}

// notifyCommand wants an absolute program, as what a relative one means depends on
// where the broker was started. That it is not there, or that others could put
// another one in its place, is a warning: it may stand on a drive that comes later.
func (k checker) notifyCommand() {
	const at = key("notify/command")
	argv := k.c.Notify.Command
	if len(argv) == 0 || k.bad[at] {
		return
	}
	program, first := argv[0], at.item(0)
	if absolute := strings.HasPrefix(program, "/"); (k.goos == "windows" && !windowsPath.MatchString(program)) || (k.goos != "windows" && !absolute) {
		k.wrong(first, "%q is not the absolute path of a program; write it in full, such as /opt/hooks/tell or C:\\Hooks\\tell.exe; there is no shell, so give each argument an item of its own", clip(program))
		return
	}
	if k.goos != runtime.GOOS { // a test's system
		return
	}
	switch fi, err := os.Stat(program); {
	case err != nil:
		k.warn(k.sources[first], first, program+" cannot be run ("+reason(err)+"), so that nobody would be told; correct the path, or put the program there")
	case fi.IsDir():
		k.warn(k.sources[first], first, program+" is a directory, so that nobody would be told; name the program in it")
	case standingOf(program).openToWrite:
		k.warn(k.sources[first], first, program+" can be changed by every user of this machine, and runs with your rights; take write permission away from others")
	}
}
