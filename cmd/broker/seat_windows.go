package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/windows"

	"github.com/m365-token-broker/broker/internal/mapiadapter/desktop"
)

// thisSeat is that of this process: in a person's session it can touch Outlook
// itself; as a service it can only see who is logged on.
func thisSeat() (seat, error) {
	here, err := desktop.Here()
	if err != nil {
		return seat{}, fmt.Errorf("find out which session this is: %w", err)
	}
	s := seat{account: here.Account, sid: here.SID, host: here.Host, sessions: sessionsOf(desktop.Sessions, here.SID)}
	if !here.Interactive {
		s.probe = probeOutlook
		return s, nil
	}
	s.desktop, err = desktop.New(desktop.Config{})
	return s, err
}

// sidOf finds the security identifier of an account, DOMAIN\user or .\user for
// one of this machine; a SID is one already.
func sidOf(account string) (string, error) {
	if strings.HasPrefix(strings.ToUpper(account), "S-1-") {
		return account, nil
	}
	if user, local := strings.CutPrefix(account, `.\`); local {
		host, err := windows.ComputerName()
		if err != nil {
			return "", fmt.Errorf("find this machine's name: %w", err)
		}
		account = host + `\` + user
	}
	sid, _, _, err := windows.LookupSID("", account)
	if err != nil {
		return "", fmt.Errorf("find the account %s: %w", account, err)
	}
	return sid.String(), nil
}
