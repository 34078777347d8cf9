//go:build !windows

package main

import "golang.org/x/sys/unix"

// roomIn asks the system of what is left for this user.
func roomIn(dir string) (room, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return room{}, err
	}
	size := uint64(s.Bsize)
	return room{free: s.Bavail * size}, nil
}
