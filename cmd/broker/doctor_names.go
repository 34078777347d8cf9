package main

import (
	"fmt"
	"slices"
	"strings"
)

// The names of the checks. An account, an Outlook target and a consumer have a
// check each, with their own name behind a slash: account/ops.
const (
	nameConfig        = "config"
	nameStateDir      = "state-dir"
	nameAdminKey      = "admin-key"
	nameDisk          = "disk"
	namePort          = "port"
	nameService       = "service"
	nameBroker        = "broker"
	nameGate          = "gate"
	nameSettings      = "settings"
	nameStore         = "store"
	nameLogon         = "logon"
	nameProxy         = "proxy"
	nameDNS           = "dns"
	nameTLS           = "tls"
	nameLoginHost     = "login-host"
	nameOutlookHost   = "outlook-host"
	nameClock         = "clock"
	nameTenant        = "tenant"
	nameRegistration  = "registration"
	nameTelemetry     = "telemetry"
	nameNotifications = "notifications"
	nameAudit         = "audit"
	nameEWSExit       = "ews-exit"
	nameEWS           = "ews"
	nameAccounts      = "accounts"
	nameConsumers     = "consumers"
	nameOutlook       = "outlook"
)

// checkNames are all of them, in the order in which they are printed.
func checkNames() []string {
	return slices.Concat([]string{nameConfig, nameStateDir, nameAdminKey, nameDisk, nameService, namePort, nameBroker, nameGate}, examinedNames(), []string{nameAccounts, nameConsumers, nameOutlook})
}

// examinedNames are those that the broker makes of itself.
func examinedNames() []string {
	var all []string
	for _, e := range (&parts{}).examinations() {
		all = append(all, e.names...)
	}
	return all
}

// wanted are the checks that somebody asked for; none is all.
type wanted []string

// has reports whether a check of this name is to be made: by itself, for its
// family, or for one of it.
func (w wanted) has(name string) bool {
	return len(w) == 0 || w.byName(name) || slices.ContainsFunc(w, func(one string) bool { return familyOf(one) == name })
}

// byName reports whether it was asked for expressly.
func (w wanted) byName(name string) bool {
	return slices.Contains(w, name) || slices.Contains(w, familyOf(name))
}

// any reports whether one of these is to be made.
func (w wanted) any(names ...string) bool { return slices.ContainsFunc(names, w.has) }

// familyOf is the name that --check takes for a check: accounts for account/ops.
func familyOf(name string) string {
	family, _, of := strings.Cut(name, "/")
	switch {
	case of && family == "account":
		return nameAccounts
	case of && family == "consumer":
		return nameConsumers
	}
	return family
}

// check refuses names that there are not.
func (w wanted) check() error {
	known := checkNames()
	for _, name := range w {
		if !slices.Contains(known, familyOf(name)) {
			return usagef("--check %s: there is no such check; there are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// strangers are the names behind prefix that somebody asked for, and that none of
// these has: nothing would be said of them.
func strangers[T any](w wanted, prefix string, those []T, name func(T) string) []string {
	var out []string
	for _, one := range w {
		asked, of := strings.CutPrefix(one, prefix)
		if of && !slices.ContainsFunc(those, func(t T) bool { return name(t) == asked }) {
			out = append(out, asked)
		}
	}
	return out
}

// ofBroker is what of it the broker is asked for.
func (w wanted) ofBroker() []string {
	return slices.DeleteFunc(examinedNames(), func(name string) bool { return !w.has(name) })
}

// only leaves the checks that were asked for, and the problems for which one of
// them could not be made: without those, all would look well.
func (w wanted) only(all []check) []check {
	blind := false
	also := slices.Clone(w)
	for _, c := range all {
		blind = blind || w.has(c.Name) && c.Text == blindText
		for _, name := range checkNames() {
			if len(w) > 0 && w.has(c.Name) && c.Text == later(name) {
				also = append(also, name)
			}
		}
	}
	return slices.DeleteFunc(all, func(c check) bool { return !also.has(c.Name) && (!blind || c.Result != resultProblem) })
}

// blindText is said of all that no broker can be asked for.
const blindText = "It cannot be looked at before the problems above are solved."

// later says why a check could not be made.
func later(name string) string {
	return fmt.Sprintf("It cannot be looked at before what is said of %s is solved.", name)
}
