package sandbox

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// User is one person of the tenant.
type User struct {
	Username string `json:"username"` // user principal name, lower case
	Name     string `json:"name"`     // display name
	ObjectID string `json:"object_id"`
}

// account is a user and what an administrator did to them.
type account struct {
	User
	generation int // grants of an older one are revoked
	disabled   bool
}

// family is everything that follows from one sign-in (RFC 9700 section 4.14.2).
type family struct {
	user       *account
	generation int
	signedIn   time.Time
	scope      string // as the sign-in asked
	dead       bool
	tokens     []tokenHash // the youngest maxFamily refresh tokens, oldest first
}

type tokenHash [sha256.Size]byte

// refreshToken is what the sandbox remembers of a refresh token.
type refreshToken struct {
	family *family
	issued time.Time
	used   bool
}

// maxFamily bounds the memory of a sandbox that runs for weeks: older refresh
// tokens of a sign-in are forgotten and refused as unknown.
const maxFamily = 1000

// state is everything that changes; Sandbox.mu guards it.
type state struct {
	users       map[string]*account // by lower-case user name
	order       []string            // user names as they were added
	autoApprove string              // user name; empty: a person decides
	frequency   time.Duration       // sign-in frequency; zero: none

	devices  map[string]*device // by device code
	requests map[string]*authorization
	codes    map[string]*authorization // by authorization code
	tokens   map[tokenHash]*refreshToken

	faults    []*activeFault
	lastFault int
	lastNBF   int64 // newest time that a claims challenge demanded
}

func newState() state {
	return state{
		users:    map[string]*account{},
		devices:  map[string]*device{},
		requests: map[string]*authorization{},
		codes:    map[string]*authorization{},
		tokens:   map[tokenHash]*refreshToken{},
	}
}

// errUnknownUser is wrapped with the name that is unknown.
var errUnknownUser = errors.New("no such user in the sandbox")

// find gives the user of that name; s.mu is held.
func (s *Sandbox) find(username string) (*account, error) {
	u, ok := s.state.users[strings.ToLower(username)]
	if !ok {
		return nil, fmt.Errorf("%w: %q; there are %s", errUnknownUser, username, strings.Join(s.state.order, ", "))
	}
	return u, nil
}

// AddUser adds a person by user name, name@domain. Adding one that exists
// returns it.
func (s *Sandbox) AddUser(username string) (User, error) {
	name := strings.ToLower(username)
	local, domain, ok := strings.Cut(name, "@")
	if !ok || local == "" || domain == "" || strings.ContainsAny(name, " \t\r\n\"<>") {
		return User{}, fmt.Errorf("sandbox: user name %q is not of the form name@domain", username)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.state.users[name]; ok {
		return u.User, nil
	}
	u := User{Username: name, Name: strings.ToUpper(local[:1]) + local[1:], ObjectID: guidOf("user:" + name)}
	if domain == tenantDomain {
		u.Name += " Contoso"
	}
	s.state.users[name] = &account{User: u}
	s.state.order = append(s.state.order, name)
	return u, nil
}

// Users lists the people of the tenant in the order they were added.
func (s *Sandbox) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users()
}

func (s *Sandbox) users() []User {
	all := make([]User, 0, len(s.state.order))
	for _, name := range s.state.order {
		all = append(all, s.state.users[name].User)
	}
	return all
}

// ApproveAll approves every sign-in as user: those that wait now and those to
// come. The empty name leaves the decision to a person again.
func (s *Sandbox) ApproveAll(user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if user == "" {
		s.state.autoApprove = ""
		return nil
	}
	u, err := s.find(user)
	if err != nil {
		return err
	}
	s.state.autoApprove = u.Username
	for _, d := range s.state.devices {
		if d.state == devicePending {
			d.state, d.user = deviceApproved, u
		}
	}
	return nil
}

// Revoke ends every sign-in of user, as an administrator or a password change
// does: refresh tokens answer AADSTS50173, and access tokens that declared cp1
// are challenged by Graph and EWS (continuous access evaluation).
func (s *Sandbox) Revoke(user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(user)
	if err != nil {
		return err
	}
	u.generation++
	return nil
}

// Disable disables user, or enables them again: requests then answer
// AADSTS50057.
func (s *Sandbox) Disable(user string, disabled bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(user)
	if err != nil {
		return err
	}
	u.disabled = disabled
	return nil
}

// SetSignInFrequency makes refresh tokens end so long after their sign-in
// (AADSTS70043); zero takes the policy away.
func (s *Sandbox) SetSignInFrequency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state.frequency = d
}

// addRefreshToken mints a refresh token of f; s.mu is held.
func (s *Sandbox) addRefreshToken(f *family) string {
	text := s.newOpaque("1.", sizeOr(s.cfg.Sizes.Refresh, 1200, 1900))
	hash := tokenHash(sha256.Sum256([]byte(text)))
	s.state.tokens[hash] = &refreshToken{family: f, issued: s.now()}
	f.tokens = append(f.tokens, hash)
	if len(f.tokens) > maxFamily {
		delete(s.state.tokens, f.tokens[0])
		f.tokens = slices.Delete(f.tokens, 0, 1)
	}
	return text
}
