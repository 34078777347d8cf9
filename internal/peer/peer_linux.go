package peer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// lookTCP looks the connection up in the tables of our network namespace, then for
// the process that has its socket open. A client in another container is in
// neither, even if its address looks like ours.
func lookTCP(want row) look {
	var last open
	return func(ctx context.Context) (found, error) {
		s, err := socketOf(want)
		if err != nil {
			return found{}, err
		}
		link := "socket:[" + s.inode + "]"
		f, ok := last.held(link) // who had it before has it again, mostly
		if !ok {
			if f, last, err = holder(ctx, link); err != nil {
				return found{}, err
			}
		}
		f.User = s.uid
		return f, nil
	}
}

// open is an open file of a process.
type open struct {
	pid  int
	path string // the link in /proc
}

// socketOf asks the kernel for this one socket, which takes 10 µs however many there
// are. Where that is not built in or not allowed, it reads the tables of all.
func socketOf(want row) (socket, error) {
	if s, err := diagnose(want); err == nil {
		return s.known()
	}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return socket{}, fmt.Errorf("read the table of connections: %w", err)
		}
		if s, ok := findLinux(string(text), want); ok {
			return s, nil
		}
	}
	return socket{}, ErrUnknown
}

// known is s, or ErrUnknown where it is nobody's.
func (s socket) known() (socket, error) {
	if s.inode == "" || s.inode == "0" {
		return socket{}, ErrUnknown
	}
	return s, nil
}

// holder finds the process that has the socket open: of several the one with the
// lowest ID, but where they run different programs nobody can say which of them
// asks. Other users' processes show their files to root only: then nothing is found.
func holder(ctx context.Context, link string) (first found, at open, err error) {
	for _, pid := range processes() {
		if err := ctx.Err(); err != nil {
			return found{}, open{}, err
		}
		path := openAs(pid, link)
		if path == "" {
			continue
		}
		o := open{pid, path}
		f, ok := o.held(link)
		switch {
		case !ok:
		case first.PID == 0:
			first, at = f, o
		case f.file != first.file:
			return found{}, open{}, nil
		}
	}
	return first, at, nil
}

// held is the process, if this file of it is link still after a look at it: the
// process may have ended meanwhile and its ID been given to another.
func (o open) held(link string) (found, bool) {
	if o.pid == 0 {
		return found{}, false
	}
	f, err := processOf(o.pid)
	if err != nil {
		return found{}, false
	}
	again, err := os.Readlink(o.path)
	return f, err == nil && again == link
}

func processes() []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil // without /proc there was no table either
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// openAs finds the open file of a process that is link, or "".
func openAs(pid int, link string) string {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	files, err := os.Open(dir)
	if err != nil {
		return ""
	}
	defer func() { _ = files.Close() }()
	names, _ := files.Readdirnames(-1) // those read before an error count
	var to [64]byte                    // longer names are no sockets
	at := int(files.Fd())
	for _, name := range names {
		if n, err := unix.Readlinkat(at, name, to[:]); err == nil && string(to[:n]) == link {
			return dir + "/" + name
		}
	}
	return ""
}
