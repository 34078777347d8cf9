package config

import (
	"fmt"
	"strings"
)

// Places says where the broker's files are.
type Places struct {
	ConfigFile string // may not exist, see Required
	Required   bool   // the config file was named, by flag or environment, so it must exist
	Shared     bool   // it is the machine-wide file under %ProgramData%, however that was named
	Service    bool   // StateDir is that of the machine's service, and the secret store another account's
	ConfDir    string // conf.d beside the config file; may not exist
	StateDir   string // owner-only; may not exist yet
}

// Locate finds the places by the rules of one operating system:
//
//	config file   --config, BROKER_CONFIG, on Windows %ProgramData%\M365TokenBroker\broker.yaml
//	              if it exists, else <user config dir>/m365-token-broker/broker.yaml
//	state dir     --state-dir, BROKER_STATE_DIR, on Windows the directory "state" beside the
//	              machine-wide config file, where that file is in use, by itself or by name, and
//	              the directory stands there (the service's), else %LocalAppData%\M365TokenBroker;
//	              elsewhere $XDG_STATE_HOME/m365-token-broker
//
// The user config dir is that of os.UserConfigDir. Relative XDG directories are
// ignored, as the XDG Base Directory Specification asks. Locate is pure: goos
// is a GOOS, getenv and exists look at the machine, configFlag and stateFlag
// are the two flags or empty.
func Locate(goos, configFlag, stateFlag string, getenv func(string) string, exists func(string) bool) (Places, error) {
	l := locator{goos: goos, getenv: getenv}
	var p Places
	var problems []Problem
	shared := l.join(getenv("ProgramData"), "M365TokenBroker", "broker.yaml")
	switch {
	case configFlag != "":
		p.ConfigFile, p.Required = configFlag, true
	case getenv("BROKER_CONFIG") != "":
		p.ConfigFile, p.Required = getenv("BROKER_CONFIG"), true
	case goos == "windows" && getenv("ProgramData") != "" && exists(shared):
		p.ConfigFile, p.Shared = shared, true
	default:
		p.ConfigFile = l.join(l.userConfigDir(), "m365-token-broker", "broker.yaml")
	}
	if p.ConfigFile == "" {
		problems = append(problems, Problem{Text: fmt.Sprintf("there is no place for the config file, because %s; use --config or set BROKER_CONFIG", l.homeVars("config"))})
	}
	if p.Required && l.same(p.ConfigFile, shared) {
		p.Shared = true // whoever names the service's file means the service
	}
	p.ConfDir = l.join(l.dir(p.ConfigFile), "conf.d")
	switch {
	case stateFlag != "":
		p.StateDir = stateFlag
	case getenv("BROKER_STATE_DIR") != "":
		p.StateDir = getenv("BROKER_STATE_DIR")
	case p.Shared && exists(l.serviceState()):
		p.StateDir, p.Service = l.serviceState(), true
	case goos == "windows":
		p.StateDir = l.join(getenv("LocalAppData"), "M365TokenBroker")
	default:
		p.StateDir = l.join(l.xdg("XDG_STATE_HOME", ".local", "state"), "m365-token-broker")
	}
	if p.StateDir == "" {
		problems = append(problems, Problem{Text: fmt.Sprintf("there is no place for the state directory, because %s; use --state-dir or set BROKER_STATE_DIR", l.homeVars("state"))})
	}
	if len(problems) > 0 {
		return Places{}, &Error{Problems: problems}
	}
	return p, nil
}

// ServicePlaces are the places of the machine's service on Windows, whether or
// not they are there yet: both in %ProgramData%\M365TokenBroker. They are empty
// where that variable is not set.
func ServicePlaces(getenv func(string) string) (dir, configFile, stateDir string) {
	l := locator{goos: "windows", getenv: getenv}
	dir = l.join(getenv("ProgramData"), "M365TokenBroker")
	return dir, l.join(dir, "broker.yaml"), l.serviceState()
}

type locator struct {
	goos   string
	getenv func(string) string
}

// serviceState is the state directory of the machine's service.
func (l locator) serviceState() string {
	return l.join(l.getenv("ProgramData"), "M365TokenBroker", "state")
}

func (l locator) userConfigDir() string {
	switch l.goos {
	case "windows":
		return l.getenv("AppData")
	case "darwin":
		return l.join(l.getenv("HOME"), "Library", "Application Support")
	default:
		return l.xdg("XDG_CONFIG_HOME", ".config")
	}
}

// xdg is an XDG base directory: the variable, or the fallback in the home directory.
func (l locator) xdg(variable string, fallback ...string) string {
	if dir := l.getenv(variable); strings.HasPrefix(dir, "/") {
		return dir
	}
	return l.join(l.getenv("HOME"), fallback...)
}

// homeVars says which variables are missing, for "config" or "state".
func (l locator) homeVars(what string) string {
	switch {
	case l.goos == "windows" && what == "config":
		return "AppData is not set"
	case l.goos == "windows":
		return "LocalAppData is not set"
	case l.goos == "darwin" && what == "config":
		return "HOME is not set"
	default:
		return "neither XDG_" + strings.ToUpper(what) + "_HOME nor HOME is set"
	}
}

// join is filepath.Join for the given system, so that Linux can test Windows.
// Where base is empty, nothing can be said and the answer is empty.
func (l locator) join(base string, elem ...string) string {
	if base == "" {
		return ""
	}
	sep, cut := "/", "/"
	if l.goos == "windows" {
		sep, cut = `\`, `\/`
	}
	return strings.Join(append([]string{strings.TrimRight(base, cut)}, elem...), sep)
}

// same reports whether two paths are one to Windows; elsewhere no file is the
// machine-wide one.
func (l locator) same(a, b string) bool {
	plain := func(s string) string { return strings.ReplaceAll(s, "/", `\`) }
	return l.goos == "windows" && b != "" && strings.EqualFold(plain(a), plain(b))
}

// dir is filepath.Dir for the given system.
func (l locator) dir(file string) string {
	seps := "/"
	if l.goos == "windows" {
		seps = `\/`
	}
	switch i := strings.LastIndexAny(file, seps); {
	case file == "":
		return ""
	case i < 0:
		return "."
	default:
		return file[:i+1]
	}
}
