package telemetry

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// The redactor is the last line of defence, not the first: secrets are
// token.Secret and do not print, and no caller logs them. It catches what a
// later mistake, or a text of a library, would let through.

const redacted = "[redacted]"

// maxText bounds every text in a log line; an answer page of a portal does not
// belong there.
const maxText = 4096

// secretShapes are texts that are secrets by their look alone:
// our own keys; JWTs and JWEs (RFC 7519: base64url of `{"` is eyJ);
// and long opaque runs, as Entra's refresh tokens and device codes are. The
// longest harmless run without a slash is a SHA-256 in hex, 64 characters.
var secretShapes = regexp.MustCompile(`\b(?:brk|bra|brg)_[A-Za-z0-9_-]{6,}` +
	`|eyJ[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)+` +
	`|[A-Za-z0-9_~-][A-Za-z0-9._~-]{79,}`)

// mailShape is a mail address or user principal name.
var mailShape = regexp.MustCompile(`[A-Za-z0-9._%+'~-]+(?:@|%40)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`)

// secretKeys are attribute keys whose value is never shown, whatever it is.
var secretKeys = map[string]bool{
	"access_token": true, "refresh_token": true, "id_token": true, "token": true,
	"device_code": true, "user_code": true, "code_verifier": true,
	"authorization": true, "cookie": true, "set-cookie": true,
	"client_secret": true, "client_assertion": true, "assertion": true,
	"password": true, "secret": true, "x-broker-key": true, "x-identity-header": true,
	"claims": true,
}

// accountKeys are attribute keys that hold an account's name.
var accountKeys = map[string]bool{"account": true, "username": true, "user": true, "upn": true, "login_hint": true}

// redactor cleans texts and log attributes.
type redactor struct {
	hasher   *accountHasher
	words    []string // further literal strings to remove
	accounts bool     // replace account names by their hash under accountKeys too
}

// text cleans one text: secrets by shape, mail addresses by their account hash.
func (r *redactor) text(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "…"
	}
	for _, w := range r.words {
		s = strings.ReplaceAll(s, w, redacted)
	}
	s = secretShapes.ReplaceAllString(s, redacted)
	if strings.Contains(s, "@") || strings.Contains(s, "%40") {
		s = mailShape.ReplaceAllStringFunc(s, func(m string) string {
			return "account-" + r.hasher.hash(strings.ReplaceAll(m, "%40", "@"))
		})
	}
	return s
}

// attr cleans one log attribute, groups with all they hold.
func (r *redactor) attr(a slog.Attr) slog.Attr {
	key := strings.ToLower(a.Key)
	v := a.Value.Resolve()
	if secretKeys[key] && v.Kind() != slog.KindGroup {
		return slog.String(a.Key, redacted)
	}
	switch v.Kind() {
	case slog.KindString:
		if r.accounts && accountKeys[key] {
			return slog.String(a.Key, r.hasher.hash(v.String()))
		}
		return slog.String(a.Key, r.text(v.String()))
	case slog.KindGroup:
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(r.attrs(v.Group())...)}
	case slog.KindAny:
		return slog.Attr{Key: a.Key, Value: r.any(v.Any())}
	default:
		return slog.Attr{Key: a.Key, Value: v} // numbers, times, booleans
	}
}

// attrs cleans a list into a new one.
func (r *redactor) attrs(in []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(in))
	for i, a := range in {
		out[i] = r.attr(a)
	}
	return out
}

// any renders a value as text and cleans that: what cannot be seen through
// cannot be let through.
func (r *redactor) any(v any) slog.Value {
	switch v := v.(type) {
	case nil:
		return slog.AnyValue(nil)
	case error:
		return slog.StringValue(r.text(v.Error()))
	case fmt.Stringer:
		return slog.StringValue(r.text(v.String()))
	default:
		return slog.StringValue(r.text(fmt.Sprintf("%+v", v)))
	}
}
