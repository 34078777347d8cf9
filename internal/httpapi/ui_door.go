package httpapi

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// How long the page can be entered and used, and how many may be under way. Only
// the admin key makes tickets, so that whoever is one too many takes the place of
// the oldest, and nobody is locked out.
const (
	ticketTime  = time.Minute
	pageIdle    = 30 * time.Minute
	pageTime    = 8 * time.Hour
	maxTickets  = 16
	maxSessions = 16
)

// door is the way into the broker's page: a ticket, which is good once, opens a
// session. It keeps hashes only, in memory only, so that a restart ends all.
type door struct {
	cookie string // its name: another broker of this machine has another one, as cookies know no ports

	mu       sync.Mutex
	tickets  []ticket // the oldest first
	sessions []session
}

type ticket struct {
	hash [sha256.Size]byte
	user string // the one account of the system that it is good for; empty: any
	ends time.Time
}

// session is a page that is open. It takes both halves to use it: the cookie goes
// to every port of this address, and so to other programs' web servers, but the
// other half (csrf) is kept by the page, which only this very origin can read.
type session struct {
	cookie, csrf [sha256.Size]byte
	began, used  time.Time
}

func (s session) over(now time.Time) bool {
	return now.Sub(s.used) >= pageIdle || now.Sub(s.began) >= pageTime
}

func newDoor() *door {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (documented)
	return &door{cookie: "broker-ui-" + hex.EncodeToString(b[:])}
}

// newPass makes what opens something, and the hash that is kept of it.
func newPass() (string, [sha256.Size]byte) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (documented)
	text := base64.RawURLEncoding.EncodeToString(b[:])
	return text, sha256.Sum256([]byte(text))
}

// ticket makes a ticket for this account of the system, empty for any.
func (d *door) ticket(user string) (text string, ends time.Time) {
	text, hash := newPass()
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune(now)
	if len(d.tickets) >= maxTickets {
		d.tickets = slices.Delete(d.tickets, 0, 1)
	}
	t := ticket{hash: hash, user: user, ends: now.Add(ticketTime)}
	d.tickets = append(d.tickets, t)
	return text, t.ends
}

// enter takes a ticket from this account of the system (empty: not known) and opens
// a session. A session that the browser still had ends: the new cookie takes the
// place of the old one.
func (d *door) enter(text, user string, had []*http.Cookie) (cookie, csrf string, err error) {
	hash, now := sha256.Sum256([]byte(text)), time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune(now)
	at := -1
	for i, t := range d.tickets {
		if subtle.ConstantTimeCompare(t.hash[:], hash[:]) == 1 {
			at = i
		}
	}
	switch {
	case at < 0:
		return "", "", token.NewError(token.KindUnauthenticated, "enter page", "This link was used already, or is older than a minute; for a new one, run: broker ui")
	case d.tickets[at].user != "" && d.tickets[at].user != user:
		return "", "", token.NewError(token.KindDenied, "enter page", "This link is for the account of this machine that asked for it; for a link that any account may open, run: broker ui --no-browser")
	}
	d.tickets = slices.Delete(d.tickets, at, at+1)
	d.end(had)
	s := session{began: now, used: now}
	cookie, s.cookie = newPass()
	csrf, s.csrf = newPass()
	if len(d.sessions) >= maxSessions {
		d.sessions = slices.Delete(d.sessions, 0, 1)
	}
	d.sessions = append(d.sessions, s)
	return cookie, csrf, nil
}

// use holds a request to a session that is not over. Only what a person did keeps
// a session from becoming idle, and not the page's own looks at the state.
func (d *door) use(cookies []*http.Cookie, csrf string, byPerson bool) error {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune(now)
	other := sha256.Sum256([]byte(csrf))
	for i := range d.sessions {
		s := &d.sessions[i]
		if s.isOneOf(cookies) && subtle.ConstantTimeCompare(s.csrf[:], other[:]) == 1 {
			if byPerson {
				s.used = now
			}
			return nil
		}
	}
	return token.NewError(token.KindUnauthenticated, "use page", "The session of this page has ended; to open it again, run: broker ui")
}

// leave ends the sessions of these cookies.
func (d *door) leave(cookies []*http.Cookie) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.end(cookies)
}

// end is leave; call it with mu held.
func (d *door) end(cookies []*http.Cookie) {
	d.sessions = slices.DeleteFunc(d.sessions, func(s session) bool { return s.isOneOf(cookies) })
}

// prune forgets what is over. Call it with mu held.
func (d *door) prune(now time.Time) {
	d.tickets = slices.DeleteFunc(d.tickets, func(t ticket) bool { return !now.Before(t.ends) })
	d.sessions = slices.DeleteFunc(d.sessions, func(s session) bool { return s.over(now) })
}

// isOneOf reports whether one of the cookies is this session's. There can be
// several of the name, as other ports of this address may set them too.
func (s *session) isOneOf(cookies []*http.Cookie) bool {
	found := 0
	for _, c := range cookies[:min(len(cookies), 8)] {
		hash := sha256.Sum256([]byte(c.Value))
		found |= subtle.ConstantTimeCompare(s.cookie[:], hash[:])
	}
	return found == 1
}

// asCookie is what the browser is told to keep. It cannot be Secure, as this is
// plain HTTP on loopback.
func (d *door) asCookie(value string) *http.Cookie {
	c := &http.Cookie{ //nolint:gosec // Secure needs https, see above; the cookie alone opens nothing
		Name: d.cookie, Value: value, Path: pagePath, MaxAge: int(pageTime / time.Second),
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}
