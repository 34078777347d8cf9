package peer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// owner looks the connection up in the tables of our network namespace, then for
// the process that has its socket open. A client in another container is in
// neither, even if its address looks like ours.
func owner(want row) (Process, error) {
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return Process{}, fmt.Errorf("read the table of connections: %w", err)
		}
		if s, ok := findLinux(string(text), want); ok {
			return holder(s), nil
		}
	}
	return Process{}, ErrUnknown
}

// holder finds the process with the lowest ID that has the socket open. Other
// users' processes show their files to root only: then the user is all we know.
func holder(s socket) Process {
	link := "socket:[" + s.inode + "]"
	for _, pid := range processes() {
		dir := filepath.Join("/proc", strconv.Itoa(pid))
		fd := openAs(dir, link)
		if fd == "" {
			continue
		}
		image, _ := os.Readlink(filepath.Join(dir, "exe"))
		// The process may have ended meanwhile and its ID been given to another:
		// what was read counts only if the socket is still there.
		if again, err := os.Readlink(fd); err == nil && again == link {
			return Process{PID: pid, Image: image, User: s.uid}
		}
	}
	return Process{User: s.uid}
}

func processes() []int {
	entries, _ := os.ReadDir("/proc") // without /proc there was no table either
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// openAs finds the open file of a process that is link, or "".
func openAs(dir, link string) string {
	files, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		return ""
	}
	defer func() { _ = files.Close() }()
	names, _ := files.Readdirnames(-1) // those read before an error count
	for _, name := range names {
		path := filepath.Join(dir, "fd", name)
		if to, err := os.Readlink(path); err == nil && to == link {
			return path
		}
	}
	return ""
}
