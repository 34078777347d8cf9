package main

import (
	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// thisLogon reads the token of this process.
func thisLogon() logon {
	t := windows.GetCurrentProcessToken() // a pseudo handle, which nobody closes
	user, err := t.GetTokenUser()
	if err != nil {
		return logon{err: err}
	}
	groups, err := t.GetTokenGroups()
	if err != nil {
		return logon{err: err}
	}
	here, err := desktop.Here()
	l := logon{user: user.User.Sid.String(), elevated: err == nil && here.Elevated}
	for _, g := range groups.AllGroups() {
		l.groups = append(l.groups, g.Sid.String())
	}
	return l
}
