package peer

import (
	"errors"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// lookUnix asks for who connected the socket. The kernel has kept that since, and
// where it gives a descriptor of the process (Linux 6.5), the ID cannot have been
// given to another one while that process is alive.
func lookUnix(c *net.UnixConn) (found, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return found{}, err
	}
	var who *unix.Ucred
	alive := -1
	var asked error
	err = raw.Control(func(fd uintptr) {
		if who, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); asked != nil {
			return
		}
		switch pidfd, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); {
		case err == nil:
			alive = pidfd
		case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL): // nobody is left to describe
			asked = err
		}
	})
	if alive >= 0 {
		defer func() { _ = unix.Close(alive) }()
	}
	if err != nil || asked != nil {
		return found{}, ErrUnknown
	}
	user := strconv.FormatUint(uint64(who.Uid), 10)
	if who.Pid == 0 { // of another container
		return found{Process: Process{User: user}}, nil
	}
	f, err := processOf(int(who.Pid))
	if alive >= 0 && hasEnded(alive) {
		return found{}, ErrUnknown
	}
	if err != nil && alive < 0 { // it has ended, or /proc is hidden
		return found{}, ErrUnknown
	}
	f.User = user
	return f, nil
}

// hasEnded reports whether the process behind a descriptor has ended: that is when
// the descriptor becomes readable (pidfd_open(2)).
func hasEnded(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err != nil || n != 0
}

func lookPipe(uintptr) (found, error) { return found{}, ErrUnknown }

// processOf is what /proc tells of a process. Of another user's it keeps the program
// from all but root.
func processOf(pid int) (found, error) {
	before, err := statOf(pid)
	if err != nil {
		return found{}, err
	}
	f := found{Process: Process{PID: pid, Start: before.start}}
	exe := programLink(pid)
	var runs unix.Stat_t
	if image, err := os.Readlink(exe); err == nil && unix.Stat(exe, &runs) == nil {
		f.file = fileOf(&runs)
		f.Image = seenFromHere(image, f.file)
	}
	after, err := statOf(pid)
	if err != nil || after.start != before.start {
		return found{}, ErrUnknown
	}
	return f, nil
}

func programLink(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/exe" }

// seenFromHere is the path, if it is a path to that file for us too. In a container,
// or in a mount namespace that any user can make, it may be the path of another
// program here. A file that was replaced keeps its path with " (deleted)" behind it,
// which nobody's setting equals, and says in a log what happened.
func seenFromHere(path string, want fileID) string {
	const replaced = " (deleted)"
	var here unix.Stat_t
	switch err := unix.Stat(path, &here); {
	case err == nil && fileOf(&here) == want:
		return path
	case len(path) > len(replaced) && path[len(path)-len(replaced):] == replaced:
		return path
	default:
		return ""
	}
}

func fileOf(s *unix.Stat_t) fileID { return fileID{volume: s.Dev, index: s.Ino} }

// statOf reads /proc/PID/stat, which everybody may.
func statOf(pid int) (stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, ErrUnknown
	}
	s, ok := parseStat(string(text))
	if !ok || s.ended {
		return stat{}, ErrUnknown
	}
	return s, nil
}

func startOf(pid int) (uint64, error) {
	s, err := statOf(pid)
	return s.start, err
}

// parents is the way up. The kernel gives a child whose parent ends another one at
// once, so that the parent's ID is never stale.
func parents() (func(Root) (Root, bool), error) {
	return func(child Root) (Root, bool) {
		c, err := statOf(child.PID)
		if err != nil || c.start != child.Start || c.parent == 0 {
			return Root{}, false
		}
		p, err := statOf(c.parent)
		return Root{PID: c.parent, Start: p.start}, err == nil
	}, nil
}

// openProgram opens the file that the process runs, whatever stands under its name
// by now.
func openProgram(f found) (*os.File, error) {
	if f.PID == 0 {
		return nil, ErrUnknown
	}
	program, err := os.Open(programLink(f.PID))
	if err != nil {
		return nil, err
	}
	var s unix.Stat_t
	if err := unix.Fstat(int(program.Fd()), &s); err != nil || fileOf(&s) != f.file {
		_ = program.Close()
		return nil, ErrUnknown
	}
	return program, nil
}

func stateOf(f *os.File) (fileState, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &s); err != nil {
		return fileState{}, err
	}
	return fileState{id: fileOf(&s), size: s.Size, written: s.Mtim.Nano(), changed: s.Ctim.Nano()}, nil
}

// clock is now, as /proc/PID/stat counts: in USER_HZ since boot, sleep included.
// USER_HZ is 100 wherever Go runs.
func clock() uint64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return ^uint64(0)
	}
	return uint64(t.Nano()) / 10_000_000
}
