package proxy

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/m365-token-broker/broker/internal/token"
)

// base is a resource's base URL, made ready.
type base struct {
	resource string
	scheme   string
	host     string // as it stands in the URL, in lower case
	path     string // escaped, without a slash at its end
	ews      bool   // Exchange Web Services
}

// outlookHosts are the hosts of Exchange Online in each cloud.
var outlookHosts = []string{
	"outlook.office365.com", "outlook.office.com", "outlook.office365.us", "outlook-dod.office365.us", "webmail.apps.mil",
	"partner.outlook.cn",
}

// parseBase reads a base URL that the configuration has checked.
func parseBase(resource, raw string) (base, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return base{}, errors.New("it is not a URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return base{}, errors.New("it must be https://host or https://host/path")
	}
	return base{
		resource: resource, scheme: u.Scheme, host: strings.ToLower(u.Host), path: strings.TrimRight(u.EscapedPath(), "/"),
		ews: resource == "ews" || slices.Contains(outlookHosts, strings.ToLower(u.Hostname())),
	}, nil
}

// target is where a request goes: behind the base URL, the path written as the
// caller wrote it.
func (b base) target(in *url.URL) (*url.URL, error) {
	raw := in.RawPath
	if raw == "" {
		raw = in.EscapedPath()
	}
	if raw != "" && raw[0] != '/' || !staysBelow(raw) || strings.ContainsFunc(in.RawQuery, unicode.IsControl) {
		return nil, badPath()
	}
	raw = b.path + escapeIllegal(raw)
	path, err := url.PathUnescape(raw)
	if err != nil {
		return nil, badPath()
	}
	u := &url.URL{
		Scheme: b.scheme, Host: b.host, Path: path, RawPath: raw,
		RawQuery: strings.ReplaceAll(strings.ReplaceAll(in.RawQuery, "#", "%23"), " ", "%20"), ForceQuery: in.ForceQuery,
	}
	if raw != "" && u.EscapedPath() != raw { // net/url would write it otherwise than it was looked at
		return nil, badPath()
	}
	return u, nil
}

func badPath() error {
	return token.NewError(token.KindInvalidRequest, "check path", "The path leads away from the resource's base_url, or is not written as a URL must be; send it without . and .. and backslashes.")
}

// maxDecodings is how often a path is decoded to look for what leads away: servers
// behind servers decode more than once.
const maxDecodings = 3

// staysBelow reports whether a path has no dot segment, backslash or control
// character, however often it is decoded.
func staysBelow(path string) bool {
	for range maxDecodings + 1 {
		if !plainSegments(path) {
			return false
		}
		next, err := url.PathUnescape(path)
		if err != nil || next == path {
			return true // a name such as 100% is no encoding
		}
		path = next
	}
	return true
}

// plainSegments looks at a path in one of its forms. What follows a semicolon is
// no part of a segment's name to some servers.
func plainSegments(path string) bool {
	for i := range len(path) {
		if path[i] < ' ' || path[i] == 0x7f || path[i] == '\\' {
			return false
		}
	}
	for segment := range strings.SplitSeq(path, "/") {
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." {
			return false
		}
	}
	return true
}

// escapeIllegal writes each byte that must not stand in a path (RFC 3986 section
// 3.3) by its number and leaves all others as they are.
func escapeIllegal(path string) string {
	const hex = "0123456789ABCDEF"
	if !strings.ContainsFunc(path, isIllegal) {
		return path
	}
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if !isIllegal(rune(c)) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	return b.String()
}

// isIllegal reports whether a character must not stand in a path as it is.
func isIllegal(c rune) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return false
	}
	return !strings.ContainsRune("-._~!$&'()*+,;=:@/%[]", c)
}

// rest is what of a URL is behind the base URL, as the resource wrote it; ok is
// false where it is elsewhere.
func (b base) rest(u *url.URL) (rest string, ok bool) {
	if u.Scheme != b.scheme || u.User != nil || hostPort(u.Scheme, u.Host) != hostPort(b.scheme, b.host) {
		return "", false
	}
	path := u.EscapedPath()
	rest, ok = strings.CutPrefix(path, b.path)
	if !ok || rest != "" && rest[0] != '/' || !staysBelow(rest) {
		return "", false
	}
	if rest == "" {
		rest = "/"
	}
	if u.RawQuery != "" {
		rest += "?" + u.RawQuery
	}
	if f := u.EscapedFragment(); f != "" {
		rest += "#" + f
	}
	return rest, true
}

// hostPort is a host in lower case with its port.
func hostPort(scheme, host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":") // an empty port is none
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	port := "443"
	if scheme == "http" {
		port = "80"
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}
