//go:build !windows

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/m365-token-broker/broker/internal/ownerfile"
)

// answerTime is how long a program that holds the socket has to take a connection.
const answerTime = time.Second

// ListenUnix opens a Unix socket at an absolute path. Its file is for its owner only
// (mode 0600), or for the group as well (0660), which is given by name or ID; "" is
// none. A directory that is not there is made, and one where others could put a
// socket of theirs in our place is refused with an *ownerfile.AccessError.
//
// The socket of a broker that has died is replaced. Where somebody answers, the
// error is ErrTaken; anything else than a socket is never touched. The end of the
// listener removes the file.
func ListenUnix(ctx context.Context, path, group string) (net.Listener, error) {
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	if err := directory(filepath.Dir(path), gid); err != nil {
		return nil, err
	}
	if err := makeWay(ctx, path); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: ownerOnly}
	l, err := config.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) { // since we looked
		return nil, ErrTaken
	}
	if err != nil {
		return nil, err
	}
	return settle(l, path, gid)
}

// groupID is the group's number; -1 is none.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if id, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(id), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("find the group %q: %w", group, err)
	}
	return strconv.Atoi(g.Gid)
}

// directory makes the socket's directory, or looks whether others may put files in.
func directory(dir string, gid int) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDirectory(dir, gid); err != nil {
			return err
		}
		return above(dir)
	}
	if err != nil {
		return err
	}
	mode := info.Mode()
	switch stat, ok := info.Sys().(*syscall.Stat_t); {
	case mode&fs.ModeSymlink != 0:
		return fmt.Errorf("%s is a symbolic link; name the directory that it leads to", dir)
	case !mode.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return &ownerfile.AccessError{
			Path:    dir,
			Problem: fmt.Sprintf("belongs to user %d, who could put a socket of his in the broker's place", stat.Uid),
			Command: fmt.Sprintf("sudo chown %d '%s'", os.Geteuid(), dir),
		}
	case mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0:
		return &ownerfile.AccessError{
			Path:    dir,
			Problem: fmt.Sprintf("can be written by other users (mode %04o), who could put a socket of theirs in the broker's place", mode.Perm()),
			Command: "chmod go-w '" + dir + "'",
		}
	case gid >= 0 && mode.Perm()&0o011 == 0:
		return &ownerfile.AccessError{
			Path:    dir,
			Problem: fmt.Sprintf("cannot be entered by the group (mode %04o)", mode.Perm()),
			Command: fmt.Sprintf("chgrp %d '%s' && chmod g+x '%s'", gid, dir, dir),
		}
	}
	return above(dir)
}

// above looks at the directories that the socket's one stands in: who can rename that
// can put another one in its place. A group that may write there is trusted, as
// a user's own group has that right in many homes.
func above(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		info, err := os.Lstat(dir)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
			return fmt.Errorf("%s belongs to user %d, who could put a socket of his in the broker's place; choose another path", dir, stat.Uid)
		}
		if mode := info.Mode(); mode.Perm()&0o002 != 0 && mode&fs.ModeSticky == 0 {
			return &ownerfile.AccessError{
				Path:    dir,
				Problem: fmt.Sprintf("can be written by everybody (mode %04o), who could put a socket of theirs in the broker's place", mode.Perm()),
				Command: "chmod o-w '" + dir + "'",
			}
		}
	}
	return nil
}

// makeDirectory makes the last part of the path only: where more is missing, it is
// somebody's mistake.
func makeDirectory(dir string, gid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if gid < 0 {
		return nil
	}
	err := os.Lchown(dir, -1, gid)
	if err == nil {
		err = os.Chmod(dir, 0o750) //nolint:gosec // the group enters it
	}
	if err != nil {
		return errors.Join(groupFault(err), os.Remove(dir))
	}
	return nil
}

// makeWay removes the socket of a broker that is no more.
func makeWay(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there already and is not a socket; remove it, or choose another path", path)
	}
	d := net.Dialer{Timeout: answerTime}
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(ErrTaken, c.Close())
	case errors.Is(err, syscall.ECONNREFUSED): // nobody has it open
		return os.Remove(path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default: // it is busy, or not ours
		return fmt.Errorf("%w: %w", ErrTaken, err)
	}
}

// ownerOnly gives the socket the mode that its file will have (unix(7), Linux only),
// so that there is no moment in which others can connect. Elsewhere it fails, and the
// mode is set when the file is there.
func ownerOnly(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}

// settle gives the socket to the group, and ties its file to the listener.
func settle(l net.Listener, path string, gid int) (net.Listener, error) {
	unix, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(errors.New("not a Unix socket"), l.Close())
	}
	unix.SetUnlinkOnClose(false)
	info, err := os.Lstat(path)
	s := &socket{UnixListener: unix, path: path, info: info}
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err == nil && gid >= 0 {
		if err = os.Lchown(path, -1, gid); err != nil {
			err = groupFault(err)
		} else {
			err = os.Chmod(path, 0o660) //nolint:gosec // the group connects
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// groupFault says what to do where the kernel only says that it is not permitted.
func groupFault(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; the account that the broker runs as must be a member of the group", err)
	}
	return err
}

// socket is a listener that takes its file away with it.
type socket struct {
	*net.UnixListener
	path string
	info fs.FileInfo
	once sync.Once
}

// Close removes the file, if it still is this socket's, and ends the listener.
func (s *socket) Close() (err error) {
	s.once.Do(func() {
		if now, e := os.Lstat(s.path); e == nil && s.info != nil && os.SameFile(now, s.info) {
			err = os.Remove(s.path)
		}
	})
	return errors.Join(err, s.UnixListener.Close())
}
