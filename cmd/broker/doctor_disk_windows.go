package main

import "golang.org/x/sys/windows"

// roomIn asks the system of what is left for this user.
func roomIn(dir string) (room, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return room{}, err
	}
	var r room
	err = windows.GetDiskFreeSpaceEx(name, &r.free, nil, nil)
	return r, err
}
