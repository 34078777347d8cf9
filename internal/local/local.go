// Package local opens the ways into the broker besides loopback TCP: a Unix socket,
// and a Windows named pipe. The system itself keeps those out who are not meant;
// whoever comes in still needs a key.
//
// A Unix socket is a file of its owner, and of one group where that is wanted. A pipe
// has an access list that names who may open it, and takes nobody from another
// machine. The names of both can be taken by the broker's own account only, once the
// broker has them: a program that had the name would be given the consumers' keys.
package local

import (
	"errors"
	"net"
	"strings"
)

// ErrTaken says that another program listens under the name.
var ErrTaken = errors.New("another program listens there")

// ErrNotHere says that this system has no such thing.
var ErrNotHere = errors.New("this system has none")

// What the access list of the pipe grants, in the security descriptor definition
// language (MS-DTYP 2.5.1.1).
const (
	allRights = "GA" // the account that makes the pipe, and all its instances
	// connectRights are those of FILE_GENERIC_READ and FILE_GENERIC_WRITE, without
	// FILE_CREATE_PIPE_INSTANCE (0x4): who has that can answer in the broker's stead.
	connectRights = "0x12019b"
)

// descriptor is the access list of a pipe. It names its maker and the others, and
// nobody else: not even SYSTEM and Administrators, who can be named like everybody.
// The owner is the maker's account itself, as that of an elevated process would be
// the group of Administrators.
func descriptor(maker string, others []string) string {
	var b strings.Builder
	b.WriteString("O:" + maker + "D:P(A;;" + allRights + ";;;" + maker + ")")
	for _, sid := range others {
		if !strings.EqualFold(sid, maker) {
			b.WriteString("(A;;" + connectRights + ";;;" + sid + ")")
		}
	}
	return b.String()
}

// patient makes the errors of a listener passing ones, but for the end, so that one
// client that breaks off does not stop the server: net/http then waits and goes on.
type patient struct{ net.Listener }

// Accept waits for a connection. Its errors are net.ErrClosed, and passing ones.
func (p patient) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return nil, passing{err}
	}
	return c, err
}

// passing is a net.Error that says so.
type passing struct{ error }

// Timeout is what net.Error asks for.
func (passing) Timeout() bool { return false }

// Temporary tells net/http to go on.
func (passing) Temporary() bool { return true }

// Unwrap gives the error itself.
func (p passing) Unwrap() error { return p.error }
