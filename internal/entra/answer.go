package entra

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// maxLifetime is the longest lifetime in an answer that is believed.
const maxLifetime = 10 * 365 * 24 * time.Hour

// tokenAnswer is a successful token answer (RFC 6749 section 5.1 with Entra's
// additions), read with tolerance for providers that leave out what is optional.
type tokenAnswer struct {
	access    token.Secret
	refresh   token.Secret // empty where the authority sent none
	expiresIn time.Duration
	refreshIn time.Duration // zero where not given
	scope     string        // empty where not given: all was granted
	identity  identity
}

// identity is who an answer is about.
type identity struct {
	home     string // uid.utid of client_info
	subject  string
	username string
	tenant   string // tid
}

// wireToken is the token answer on the wire. Numbers may be strings.
type wireToken struct {
	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	TokenType    string          `json:"token_type"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	ExpiresOn    json.RawMessage `json:"expires_on"`
	RefreshIn    json.RawMessage `json:"refresh_in"`
	Scope        json.RawMessage `json:"scope"`
	IDToken      string          `json:"id_token"`
	ClientInfo   string          `json:"client_info"`
	Error        json.RawMessage `json:"error"`
}

// What is wrong with an answer. None of these texts holds a part of it.
var (
	errNotJSON     = errors.New("the answer is not a JSON object")
	errIsError     = errors.New("the answer is an error with status 200")
	errNoToken     = errors.New("the answer has no access_token, nor anything else of a token answer")
	errNoAccess    = errors.New("the answer has no access_token")
	errNoExpiry    = errors.New("the answer has no usable expires_in")
	errTokenType   = errors.New("the answer is not a bearer token")
	errTokenText   = errors.New("the answer has a token with characters that no token may have")
	errNoDevice    = errors.New("the answer lacks device_code, user_code or verification_uri")
	errVerifyURI   = errors.New("verification_uri is not an https URL")
	errNoEndpoints = errors.New("the discovery document lacks issuer, token_endpoint or authorization_endpoint")
)

// parseTokenAnswer reads a token answer. With an error it still returns what it
// could read, so that a rotated refresh token is not lost with the rest.
func parseTokenAnswer(body []byte, now time.Time) (tokenAnswer, error) {
	var w wireToken
	if !isObject(body) || json.Unmarshal(body, &w) != nil {
		return tokenAnswer{}, errNotJSON
	}
	badText := !isTokenText(w.AccessToken) || !isTokenText(w.RefreshToken)
	if !isTokenText(w.RefreshToken) {
		w.RefreshToken = "" // nothing to keep: the old one may still be good
	}
	a := tokenAnswer{
		access:    token.NewSecret(w.AccessToken),
		refresh:   token.NewSecret(w.RefreshToken),
		refreshIn: seconds(w.RefreshIn),
		scope:     scopeText(w.Scope),
		identity:  readIdentity(w.IDToken, w.ClientInfo),
	}
	a.expiresIn = seconds(w.ExpiresIn)
	if on := seconds(w.ExpiresOn); a.expiresIn == 0 && on > 0 {
		a.expiresIn = time.Unix(int64(on/time.Second), 0).Sub(now).Round(time.Second)
	}
	if a.refreshIn >= a.expiresIn {
		a.refreshIn = 0
	}
	switch {
	case present(w.Error):
		return a, errIsError
	case w.AccessToken == "" && !w.isTokenAnswer():
		return a, errNoToken
	case w.AccessToken == "":
		return a, errNoAccess
	case badText:
		return a, errTokenText
	case w.TokenType != "" && !strings.EqualFold(w.TokenType, "bearer"):
		return a, errTokenType
	case a.expiresIn <= 0 || a.expiresIn > maxLifetime:
		return a, errNoExpiry
	}
	return a, nil
}

// isTokenAnswer reports whether there is a sign besides the access token that
// the authority issued something, and no filtering proxy answered in JSON.
func (w *wireToken) isTokenAnswer() bool {
	return w.TokenType != "" || w.RefreshToken != "" || w.IDToken != "" || present(w.ExpiresIn)
}

// isTokenText reports whether s is visible ASCII throughout, which holds all
// that RFC 6749 (appendix A.12, A.17) and RFC 6750 (section 2.1) let a token be,
// but for the space that would break the Authorization header.
func isTokenText(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// isObject reports whether body begins as a JSON object does. It keeps null,
// numbers and HTML from being read as an empty answer.
func isObject(body []byte) bool {
	return strings.HasPrefix(strings.TrimLeft(string(body[:min(len(body), 64)]), " \t\r\n"), "{")
}

// present reports whether a member is there and not null.
func present(raw json.RawMessage) bool {
	return len(raw) > 0 && string(raw) != "null"
}

// seconds reads a number of seconds that may stand in quotes (Entra's older
// endpoints) or have a fraction. Anything else is zero.
func seconds(raw json.RawMessage) time.Duration {
	n, err := strconv.ParseFloat(strings.Trim(string(raw), `" `), 64)
	if err != nil || !(n >= 0 && n < maxSeconds) { // the negation catches NaN
		return 0
	}
	return time.Duration(n) * time.Second
}

// maxSeconds bounds the numbers that are read: epoch seconds fit, and a
// Duration holds them.
const maxSeconds = 9e9

// scopeText reads the scope member: a string, or, from some providers, a list.
func scopeText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return strings.Join(strings.Fields(s), " ")
	}
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return strings.Join(list, " ")
	}
	return ""
}

// readIdentity reads who signed in. The ID token came straight from the token
// endpoint over TLS, so its signature need not be checked (OIDC Core section
// 3.1.3.7, 6). What cannot be read stays empty.
func readIdentity(idToken, clientInfo string) identity {
	var id identity
	var info struct {
		UID  string `json:"uid"`
		UTID string `json:"utid"`
	}
	if decodePart(clientInfo, &info) && info.UID != "" {
		if info.UTID == "" {
			info.UTID = info.UID
		}
		id.home = info.UID + "." + info.UTID
	}
	parts := strings.Split(idToken, ".")
	if len(parts) < 2 {
		return id
	}
	var claims map[string]any
	if !decodePart(parts[1], &claims) {
		return id
	}
	text := func(name string) string { s, _ := claims[name].(string); return s }
	id.subject, id.tenant = text("sub"), text("tid")
	for _, name := range []string{"preferred_username", "upn", "email", "sub"} {
		if id.username = readable(text(name), 256); id.username != "" {
			break
		}
	}
	return id
}

// decodePart decodes base64url JSON, with or without padding.
func decodePart(s string, into any) bool {
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	return err == nil && json.Unmarshal(data, into) == nil
}

// deviceAnswer is a device authorization (RFC 8628 section 3.2).
type deviceAnswer struct {
	deviceCode      token.Secret
	userCode        string
	verificationURI string
	expiresIn       time.Duration
	interval        time.Duration
}

// parseDeviceAnswer reads a device authorization.
func parseDeviceAnswer(body []byte) (deviceAnswer, error) {
	var w struct {
		DeviceCode      string          `json:"device_code"`
		UserCode        string          `json:"user_code"`
		VerificationURI string          `json:"verification_uri"`
		VerificationURL string          `json:"verification_url"` // Entra's version 1 spelling
		ExpiresIn       json.RawMessage `json:"expires_in"`
		Interval        json.RawMessage `json:"interval"`
		Error           json.RawMessage `json:"error"`
	}
	if !isObject(body) || json.Unmarshal(body, &w) != nil {
		return deviceAnswer{}, errNotJSON
	}
	if w.VerificationURI == "" {
		w.VerificationURI = w.VerificationURL
	}
	a := deviceAnswer{
		deviceCode:      token.NewSecret(w.DeviceCode),
		userCode:        printable(w.UserCode, 64),
		verificationURI: w.VerificationURI,
		expiresIn:       seconds(w.ExpiresIn),
		interval:        seconds(w.Interval),
	}
	if a.interval == 0 {
		a.interval = defaultInterval
	}
	switch {
	case present(w.Error):
		return a, errIsError
	case w.DeviceCode == "" || a.userCode == "" || w.VerificationURI == "":
		return a, errNoDevice
	case !isHTTPS(w.VerificationURI):
		return a, errVerifyURI
	case a.expiresIn <= 0 || a.expiresIn > maxLifetime:
		return a, errNoExpiry
	}
	return a, nil
}

// isHTTPS reports whether s is a plain https URL that can be shown to a person.
func isHTTPS(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && len(s) <= 2048 && printable(s, len(s)) == s
}

// message is the sentence that a person acts on, in our words: the authority's
// may hold anything.
func (a deviceAnswer) message() string {
	return fmt.Sprintf("Open %s in any browser and enter the code %s.", a.verificationURI, a.userCode)
}

// oauthError is an error answer (RFC 6749 section 5.2 with Entra's additions).
// Its description is read for AADSTS numbers only and dropped.
type oauthError struct {
	code     string
	subError string
	aadsts   []int
	claims   string
}

// parseOAuthError reads an error answer and reports whether it is one.
func parseOAuthError(body []byte) (oauthError, bool) {
	var w struct {
		Error       string `json:"error"`
		SubError    any    `json:"suberror"`
		Description any    `json:"error_description"`
		Codes       any    `json:"error_codes"`
		Claims      any    `json:"claims"`
	}
	if !isObject(body) || json.Unmarshal(body, &w) != nil || w.Error == "" {
		return oauthError{}, false
	}
	sub, _ := w.SubError.(string)
	description, _ := w.Description.(string)
	e := oauthError{code: word(w.Error), subError: word(sub), aadsts: numbers(w.Codes, description)}
	switch c := w.Claims.(type) {
	case string:
		e.claims, _ = token.ParseClaims(c)
	case map[string]any:
		if raw, err := json.Marshal(c); err == nil {
			e.claims, _ = token.ParseClaims(string(raw))
		}
	}
	return e, true
}

// word holds a code of the authority to short lower-case words, so that nothing
// else of its text can pass. What is no such word becomes "other".
func word(s string) string {
	if s == "" {
		return ""
	}
	if len(s) > 48 {
		return "other"
	}
	s = strings.ToLower(s)
	for _, r := range s {
		if r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return "other"
		}
	}
	return s
}

// numbers collects AADSTS numbers from error_codes, and from the description
// where that names none.
func numbers(codes any, description string) []int {
	var out []int
	if list, ok := codes.([]any); ok {
		for _, c := range list[:min(len(list), 8)] {
			if n, ok := c.(float64); ok && n > 0 && n < 1e9 {
				out = append(out, int(n))
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	_, rest, found := strings.Cut(description, "AADSTS")
	if !found {
		return nil
	}
	end := 0
	for end < len(rest) && end < 9 && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	if n, err := strconv.Atoi(rest[:end]); err == nil && n > 0 {
		out = append(out, n)
	}
	return out
}
