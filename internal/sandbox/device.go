package sandbox

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

type deviceState int

const (
	devicePending deviceState = iota
	deviceApproved
	deviceDeclined
	deviceRedeemed
)

// device is one device authorization (RFC 8628 section 3.2).
type device struct {
	userCode string
	scope    string
	claims   string
	from     string // where the request came from, shown to the person
	asked    time.Time
	expires  time.Time
	state    deviceState
	user     *account
}

// deviceAnswer is the answer of the device code endpoint. Entra gives no
// verification_uri_complete.
type deviceAnswer struct {
	UserCode        string `json:"user_code"`
	DeviceCode      string `json:"device_code"`
	VerificationURI string `json:"verification_uri"`
	ExpiresIn       int    `json:"expires_in"`
	Interval        int    `json:"interval"`
	Message         string `json:"message"`
}

// keepExpired is how long an expired code still answers expired_token.
const keepExpired = time.Hour

func (s *Sandbox) serveDeviceCode(w http.ResponseWriter, r *http.Request) {
	if e := checkClient(r); e != nil {
		s.refuse(w, *e)
		return
	}
	scope := r.PostForm.Get("scope")
	if scope == "" {
		s.refuse(w, missing("scope"))
		return
	}
	if _, e := parseScopes(scope); e != nil {
		s.refuse(w, *e)
		return
	}
	now := s.now()
	d := &device{
		userCode: s.newUserCode(), scope: scope, claims: r.PostForm.Get("claims"),
		from: r.RemoteAddr, asked: now, expires: now.Add(s.cfg.DeviceCodeLifetime),
	}
	code := s.newOpaque("GAQABIQEAAAA", 260)
	s.addDevice(code, d, now)
	uri := s.url + "/devicelogin"
	writeJSON(w, http.StatusOK, deviceAnswer{
		UserCode: d.userCode, DeviceCode: code, VerificationURI: uri,
		ExpiresIn: seconds(s.cfg.DeviceCodeLifetime), Interval: max(1, seconds(s.cfg.Interval)),
		Message: fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", uri, d.userCode),
	})
}

// addDevice files a new code and forgets those that expired long ago.
func (s *Sandbox) addDevice(code string, d *device, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, old := range s.state.devices {
		if now.Sub(old.expires) > keepExpired {
			delete(s.state.devices, c)
			s.stats.forgetCode(c)
		}
	}
	if u := s.state.users[s.state.autoApprove]; u != nil {
		d.state, d.user = deviceApproved, u
	}
	s.state.devices[code] = d
}

// pollDevice answers one poll: the sign-in, or why there is none yet.
func (s *Sandbox) pollDevice(code string) (*device, *oauthError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.state.devices[code]
	if !ok {
		return nil, new(errBadCode)
	}
	switch {
	case d.state == deviceRedeemed:
		return nil, new(errUsedCode)
	case d.state == deviceDeclined:
		return nil, new(errDeclined)
	case !s.now().Before(d.expires):
		return nil, new(errCodeExpired)
	case d.state == devicePending:
		return nil, new(errPending)
	case d.user.disabled:
		return nil, new(errDisabled)
	}
	return d, nil
}

// Approve approves the sign-in with that user code as user.
func (s *Sandbox) Approve(userCode, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.find(user)
	if err != nil {
		return err
	}
	return s.decide(userCode, deviceApproved, u)
}

// Decline declines the sign-in with that user code.
func (s *Sandbox) Decline(userCode string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decide(userCode, deviceDeclined, nil)
}

// decide settles a pending code; s.mu is held.
func (s *Sandbox) decide(userCode string, to deviceState, u *account) error {
	d := s.pending(userCode)
	if d == nil {
		return fmt.Errorf("sandbox: no sign-in waits for that code; it is wrong, expired or decided already")
	}
	d.state, d.user = to, u
	return nil
}

// pending finds the code that a person typed, as people type; s.mu is held.
func (s *Sandbox) pending(typed string) *device {
	typed = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(typed))
	for _, d := range s.state.devices {
		if d.userCode == typed && d.state == devicePending && s.now().Before(d.expires) {
			return d
		}
	}
	return nil
}

// PendingCodes lists the user codes that wait for a person.
func (s *Sandbox) PendingCodes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	codes := []string{}
	for _, d := range s.state.devices {
		if d.state == devicePending && s.now().Before(d.expires) {
			codes = append(codes, d.userCode)
		}
	}
	return codes
}

// checkClient accepts the one public client, and no secret with it.
func checkClient(r *http.Request) *oauthError {
	switch id := r.PostForm.Get("client_id"); {
	case id == "":
		e := missing("client_id")
		return &e
	case !strings.EqualFold(id, clientID):
		return new(errNoApp)
	}
	if r.PostForm.Has("client_secret") || r.PostForm.Has("client_assertion") {
		return new(errSecret)
	}
	return nil
}

// seconds rounds down, as Entra's "expires_in" does.
func seconds(d time.Duration) int { return int(d / time.Second) }
