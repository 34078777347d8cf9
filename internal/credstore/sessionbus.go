package credstore

import (
	"os"
	"path/filepath"
	"strconv"
)

// SessionBus finds where the user's D-Bus session bus listens, for
// Config.SessionBus; "" is nowhere. getenv is os.Getenv. Unlike the search of
// the D-Bus library it starts no bus and changes no environment variable.
func SessionBus(getenv func(string) string) string {
	if address := getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" && address != "autolaunch:" {
		return address
	}
	for _, dir := range []string{getenv("XDG_RUNTIME_DIR"), filepath.Join("/run/user", strconv.Itoa(os.Geteuid()))} {
		path := filepath.Join(dir, "bus")
		if info, err := os.Stat(path); dir != "" && err == nil && info.Mode()&os.ModeSocket != 0 {
			return "unix:path=" + path
		}
	}
	return ""
}
