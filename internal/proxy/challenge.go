package proxy

import (
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// challenge is one challenge of a WWW-Authenticate header field (RFC 9110 section
// 11.6.1).
type challenge struct {
	scheme  string            // in lower case
	params  map[string]string // by name in lower case
	token68 string
	raw     string // as it was written
}

// claimsOf finds the claims that a resource asks a new token for, as JSON: the
// parameter claims of a Bearer challenge whose error is insufficient_claims
// (Microsoft's "Claims challenges, claims requests and client capabilities"). It
// is "" where there are none, or none that can be read.
func claimsOf(header []string) string {
	for _, line := range header {
		all, _ := parseChallenges(line)
		for _, c := range all {
			if c.scheme != "bearer" || c.params["error"] != "insufficient_claims" {
				continue
			}
			if claims, err := token.DecodeClaims(c.params["claims"]); err == nil {
				return claims
			}
		}
	}
	return ""
}

// bearerOnly keeps the challenges of the scheme Bearer. The others would let a
// caller try its key as the resource's password, or ask a person for one.
func bearerOnly(header []string) []string {
	var kept []string
	for _, line := range header {
		all, ok := parseChallenges(line)
		for _, c := range all {
			if ok && c.scheme == "bearer" {
				kept = append(kept, c.raw)
			}
		}
	}
	if len(kept) == 0 {
		return []string{"Bearer"}
	}
	return kept
}

// parseChallenges reads a list of challenges. It takes nothing that the grammar
// does not allow, and no parameter twice; ok is false where it found such, and
// what it read before is then of no meaning.
func parseChallenges(line string) (all []challenge, ok bool) {
	s := scanner{text: line}
	for {
		s.skipListSpace()
		if s.done() {
			return all, true
		}
		begin := s.at
		c := challenge{}
		if c.scheme = strings.ToLower(s.token()); c.scheme == "" || !s.done() && s.peek() != ' ' && s.peek() != ',' {
			return nil, false
		}
		if s.skip(" "); !s.done() && s.peek() != ',' && !s.arguments(&c) {
			return nil, false
		}
		c.raw = strings.TrimRight(line[begin:s.at], " \t,")
		all = append(all, c)
	}
}

// scanner walks over a header field's value.
type scanner struct {
	text string
	at   int
}

func (s *scanner) done() bool { return s.at >= len(s.text) }
func (s *scanner) peek() byte { return s.text[s.at] }

func (s *scanner) skip(chars string) {
	for !s.done() && strings.IndexByte(chars, s.peek()) >= 0 {
		s.at++
	}
}

// skipListSpace skips white space and empty list elements.
func (s *scanner) skipListSpace() { s.skip(" \t,") }

// token reads a token (RFC 9110 section 5.6.2); "" where there is none.
func (s *scanner) token() string {
	begin := s.at
	for !s.done() && isTokenByte(s.peek()) {
		s.at++
	}
	return s.text[begin:s.at]
}

func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// arguments reads what follows a scheme: a token68, or parameters up to the next
// scheme.
func (s *scanner) arguments(c *challenge) bool {
	if s.token68(c) {
		return true
	}
	c.params = map[string]string{}
	for first := true; ; first = false {
		begin := s.at
		s.skipListSpace()
		at := s.at
		name, value, ok := s.param()
		if !ok {
			// Another challenge may begin here, but only behind a comma.
			s.at = at
			return s.done() || !first && strings.Contains(s.text[begin:at], ",")
		}
		if !first && !strings.Contains(s.text[begin:at], ",") {
			return false
		}
		name = strings.ToLower(name)
		if _, twice := c.params[name]; twice {
			return false
		}
		c.params[name] = value
	}
}

// token68 reads a token68 that is the whole of a challenge's argument (RFC 9110
// section 11.2).
func (s *scanner) token68(c *challenge) bool {
	begin, end := s.at, s.at
	for end < len(s.text) && (isAlphanumeric(s.text[end]) || strings.IndexByte("-._~+/", s.text[end]) >= 0) {
		end++
	}
	if end == begin {
		return false
	}
	for end < len(s.text) && s.text[end] == '=' {
		end++
	}
	rest := strings.TrimLeft(s.text[end:], " \t")
	if rest != "" && rest[0] != ',' {
		return false
	}
	c.token68, s.at = s.text[begin:end], end
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// param reads name=value, the value a token or a quoted string.
func (s *scanner) param() (name, value string, ok bool) {
	if name = s.token(); name == "" {
		return "", "", false
	}
	s.skip(" \t")
	if s.done() || s.peek() != '=' {
		return "", "", false
	}
	s.at++
	s.skip(" \t")
	if !s.done() && s.peek() == '"' {
		value, ok = s.quoted()
		return name, value, ok
	}
	value = s.token()
	return name, value, value != ""
}

// quoted reads a quoted string (RFC 9110 section 5.6.4).
func (s *scanner) quoted() (string, bool) {
	var b strings.Builder
	for s.at++; !s.done(); s.at++ {
		c := s.peek()
		switch c {
		case '"':
			s.at++
			return b.String(), true
		case '\\':
			if s.at++; s.done() {
				return "", false
			}
			c = s.peek()
		}
		if c < ' ' && c != '\t' || c == 0x7f {
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}
