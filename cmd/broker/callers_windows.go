package main

import "golang.org/x/sys/windows"

// lookUpAccount asks the system. os/user would refuse what is no person: the
// accounts of services.
func lookUpAccount(name string) (string, error) {
	sid, _, _, err := windows.LookupSID("", name)
	if err != nil {
		return "", err
	}
	return sid.String(), nil
}
