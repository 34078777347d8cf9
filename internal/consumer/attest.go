package consumer

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/peer"
	"github.com/m365-token-broker/broker/internal/token"
)

// tie is what must be true of whoever sends a consumer's key, besides the key.
// It is never written to, and stays the same one for as long as the consumer is
// tied to the same things: what was decided of a connection is kept by it.
type tie struct {
	hours                    config.Hours
	executable, sha256, user string
	userID                   string // user as the system says it; empty: there is no such account
}

// newTie is nil where nothing is demanded.
func newTie(s Spec) *tie {
	t := &tie{hours: s.Hours, executable: s.Executable, sha256: s.SHA256, user: s.User, userID: s.UserID}
	if t.hours.IsZero() && !t.toProcess() {
		return nil
	}
	return t
}

// toProcess reports whether the process has to be looked at.
func (t *tie) toProcess() bool { return t.executable != "" || t.sha256 != "" || t.user != "" }

func (t *tie) equal(o *tie) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.hours.Equal(o.hours) && t.executable == o.executable && t.sha256 == o.sha256 && t.user == o.user && t.userID == o.userID
}

// Connection is the Peer of one connection together with what Check decided of
// it, so that a request over a connection that stays open costs nothing more.
type Connection struct {
	Peer
	last atomic.Pointer[verdict]
}

// NewConnection keeps what is decided of p.
func NewConnection(p Peer) *Connection { return &Connection{Peer: p} }

// verdict is what was decided of a process. It holds for one tie: another
// policy decides anew.
type verdict struct {
	tie     *tie
	program string // path of the caller's program; empty: not known
	wrong   string // why it is not the right process; empty: it is
}

// IsTied reports whether Check looks at anything at all, for callers to whom it
// costs something to find the Peer.
func (id *Identity) IsTied() bool { return id.tie != nil }

// Check reports whether this consumer may be called for at this time, by this
// process. p is nil where the request came over no connection. The error is of
// KindDenied outside the consumer's hours, and of KindWrongProcess where the
// process is another one or cannot be known; it says which property is not right,
// and never what the right one would be, as its reader may be a thief of the key.
// Consumers that are tied to nothing cost one comparison.
func (id *Identity) Check(ctx context.Context, p Peer) error {
	if id.tie == nil {
		return nil
	}
	return id.check(ctx, p)
}

func (id *Identity) check(ctx context.Context, p Peer) error {
	now := time.Now()
	if !id.tie.hours.Contains(now) {
		return id.turnAway(now, token.KindDenied, "", "may not ask at this time of the week; ask within its hours, or change them")
	}
	if !id.tie.toProcess() {
		return nil
	}
	v, err := id.decide(ctx, p)
	if err != nil {
		return token.AsError(err)
	}
	if v.program != "" {
		id.usage.calledBy(v.program)
	}
	if v.wrong != "" {
		return id.turnAway(now, token.KindWrongProcess, v.program, v.wrong)
	}
	return nil
}

// What Check says where the process is not the right one, or not known. Each
// follows on the consumer's name.
const (
	notKnown     = "is tied to a program or an account, and the system does not tell which process this is; call the broker from this machine, outside any container, and let the broker run as an account that may see the program"
	otherProgram = "was made for another program; use a key of this program's own, or correct the executable of the consumer"
	otherFile    = "was made for another version of this program; if it was updated on purpose, give the consumer the new sha256"
	otherUser    = "was made for another account of this machine; run the program as that account, or correct the user of the consumer"
	noSuchUser   = "was made for an account that this machine does not know; correct the user of the consumer"
	changed      = "is tied to a program or an account, and the process that called has ended meanwhile; call again"
)

// decide gives what is known of the connection already, or looks. Only what is
// certain is kept: a process that cannot be seen now may be seen the next time.
// The error is that of ctx.
func (id *Identity) decide(ctx context.Context, p Peer) (*verdict, error) {
	c, _ := p.(*Connection)
	if c != nil {
		if v := c.last.Load(); v != nil && v.tie == id.tie {
			return v, nil
		}
	}
	v, certain := id.tie.judge(ctx, p)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if c != nil && certain {
		c.last.Store(v)
	}
	return v, nil
}

// judge holds the process against the tie.
func (t *tie) judge(ctx context.Context, p Peer) (v *verdict, certain bool) {
	if p == nil {
		return &verdict{tie: t, wrong: notKnown}, false
	}
	proc, err := p.Process(ctx)
	if err != nil {
		return &verdict{tie: t, wrong: notKnown}, false
	}
	v = &verdict{tie: t, program: proc.Image}
	v.wrong = t.mismatch(proc)
	if v.wrong == "" && t.sha256 != "" {
		switch sum, err := p.SHA256(ctx); {
		case err != nil:
			v.wrong = notKnown
		case !strings.EqualFold(sum, t.sha256):
			v.wrong = otherFile
		}
	}
	if v.wrong != "" {
		return v, v.wrong != notKnown
	}
	// All of the above was read by the process's ID, one after the other. If the
	// process is still there, all of it was the same one's.
	if p.Confirm(ctx) != nil {
		return &verdict{tie: t, wrong: changed}, false
	}
	return v, true
}

// mismatch says what is not right about a process; "" is nothing.
func (t *tie) mismatch(p peer.Process) string {
	switch {
	case t.user != "" && t.userID == "":
		return noSuchUser
	case t.user != "" && p.User == "", t.executable != "" && p.Image == "":
		return notKnown
	case t.user != "" && !strings.EqualFold(p.User, t.userID):
		return otherUser
	case t.executable != "" && !sameProgram(t.executable, p.Image, runtime.GOOS == "windows"):
		return otherProgram
	default:
		return ""
	}
}

// sameProgram reports whether image, the path that the system gives for a
// running program, is the configured one. That one may lead over links, as
// /usr/bin/python3 does, which change when the program is updated; they are
// followed only where the paths differ. Those of image are not: who runs a
// program of his own could put a link to the right one in its place.
func sameProgram(configured, image string, windows bool) bool {
	if plainProgram(configured, windows) == plainProgram(image, windows) {
		return true
	}
	target, err := filepath.EvalSymlinks(configured)
	return err == nil && plainProgram(target, windows) == plainProgram(image, windows)
}

// plainProgram takes a path to the form that is compared. On Windows the letters
// A to Z are the same as a to z; of other letters not even pairs are, because
// what Unicode folds and what NTFS folds differ, and a folder of another name
// must never pass for this one.
func plainProgram(path string, windows bool) string {
	if !windows {
		return filepath.Clean(path)
	}
	path = strings.TrimPrefix(strings.ReplaceAll(path, "/", `\`), `\\?\`)
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, path)
}

// turnAway refuses a request. The list of consumers, which only the
// administrator sees, also says which program it was.
func (id *Identity) turnAway(now time.Time, kind token.Kind, program, why string) error {
	e := token.NewError(kind, "check caller", fmt.Sprintf("Consumer %q %s.", id.Name, why))
	reason := e.Detail
	if program != "" {
		reason += " The caller was " + program + "."
	}
	id.usage.refused(now, reason)
	return e
}
