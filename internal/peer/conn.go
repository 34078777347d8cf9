package peer

import (
	"context"
	"net"
	"net/netip"
	"slices"
)

// Conn is who is at the other end of one connection that was accepted here: TCP
// over loopback, a Unix socket, or a Windows named pipe. The system is asked when
// somebody wants to know, and then once. It is safe for concurrent use, and holds
// nothing that would have to be closed.
type Conn struct {
	digests *Digests
	since   uint64        // when it was taken on, as Process.Start counts
	turn    chan struct{} // who has its one place may use what follows

	ask    look // asks the system
	known  found
	asked  bool // known is an answer
	chain  []Root
	sha256 string
}

// found is what one look at a connection brought.
type found struct {
	Process
	file fileID // of the program; zero where the system does not tell
}

// look finds out what is true of one connection now. It may keep for the next time
// where it found it, so only one may call it at a time.
type look func(ctx context.Context) (found, error)

// fileID tells one file from all others of this machine.
type fileID struct{ volume, index uint64 }

// NewConn takes on a connection that was just accepted. It asks nothing yet. The
// digests are shared by connections; nil: each one makes its own.
func NewConn(c net.Conn, digests *Digests) *Conn {
	if digests == nil {
		digests = NewDigests()
	}
	return &Conn{ask: lookAt(c), digests: digests, since: clock(), turn: make(chan struct{}, 1)}
}

// Process is who that is, as the system said when it was first asked. Where it
// does not tell, the error is ErrUnknown, and the next call asks again.
func (c *Conn) Process(ctx context.Context) (Process, error) {
	if err := c.take(ctx); err != nil {
		return Process{}, err
	}
	defer c.give()
	f, err := c.first(ctx)
	return f.Process, err
}

// Confirm asks the system again. The error is ErrUnknown where the process has
// ended, or runs another program by now, or where the connection is another's.
func (c *Conn) Confirm(ctx context.Context) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.give()
	before, err := c.first(ctx)
	if err != nil {
		return err
	}
	now, err := c.look(ctx)
	if err != nil {
		return err
	}
	if now.Process != before.Process || now.file != before.file {
		return ErrUnknown
	}
	return nil
}

// SHA256 is the lower-case hex SHA-256 of the file of the program that the process
// runs. Where that file cannot be read, the error is ErrUnknown. It takes as long
// as reading the file, and ends with ctx.
func (c *Conn) SHA256(ctx context.Context) (string, error) {
	if err := c.take(ctx); err != nil {
		return "", err
	}
	defer c.give()
	if c.sha256 != "" {
		return c.sha256, nil
	}
	f, err := c.first(ctx)
	if err != nil {
		return "", err
	}
	program, err := openProgram(f)
	if err != nil {
		return "", ErrUnknown
	}
	defer func() { _ = program.Close() }()
	c.sha256, err = c.digests.sum(ctx, f.Image, program)
	return c.sha256, err
}

// DescendsFrom reports whether the process is root, or was started by it or by a
// descendant of it. A process whose parent has ended has no ancestors any more
// where the system gives it another parent then (Linux).
func (c *Conn) DescendsFrom(ctx context.Context, root Root) (bool, error) {
	if err := c.take(ctx); err != nil {
		return false, err
	}
	defer c.give()
	f, err := c.first(ctx)
	if err != nil {
		return false, err
	}
	if f.PID == 0 || f.Start == 0 {
		return false, ErrUnknown
	}
	if c.chain == nil {
		up, err := parents()
		if err != nil {
			return false, err
		}
		c.chain = ancestors(Root{PID: f.PID, Start: f.Start}, up)
	}
	return slices.Contains(c.chain, root), nil
}

// take waits for the turn; give ends it.
func (c *Conn) take(ctx context.Context) error {
	select {
	case c.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Conn) give() { <-c.turn }

// first is the first good answer. The caller has the turn.
func (c *Conn) first(ctx context.Context) (found, error) {
	if !c.asked {
		f, err := c.look(ctx)
		if err != nil {
			return found{}, err
		}
		c.known, c.asked = f, true
	}
	return c.known, nil
}

// look asks the system. A process that began when the connection was there already
// cannot have made it: it has the ID of one that has ended.
func (c *Conn) look(ctx context.Context) (found, error) {
	f, err := c.ask(ctx)
	if err == nil && f.Start > c.since {
		return found{}, ErrUnknown
	}
	return f, err
}

// lookAt is how to ask about this connection.
func lookAt(c net.Conn) look {
	switch conn := c.(type) {
	case *net.TCPConn:
		return lookLoopback(row{local: addrPort(conn.RemoteAddr()), remote: addrPort(conn.LocalAddr())})
	case *net.UnixConn:
		return func(context.Context) (found, error) { return lookUnix(conn) }
	case interface{ Fd() uintptr }: // as a pipe of go-winio has
		if c.LocalAddr().Network() == "pipe" {
			return func(context.Context) (found, error) { return lookPipe(conn.Fd()) }
		}
	}
	return nobody
}

// nobody is the answer about what the system cannot be asked for.
func nobody(context.Context) (found, error) { return found{}, ErrUnknown }

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return plain(tcp.AddrPort())
	}
	return netip.AddrPort{}
}
