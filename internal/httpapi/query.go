package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/agext/levenshtein"

	"github.com/m365-token-broker/broker/internal/token"
)

// Limits of the parameters, as openapi/broker.yaml states them.
const (
	maxResource    = 128
	maxAccount     = 320
	maxMinValidity = 86400
	maxWait        = 60
	maxHistory     = 1000
	maxChecks      = 1000
)

// tokenParams are the parameters of GET /v1/token.
type tokenParams struct {
	resource, account string
	minValidity, wait time.Duration
}

// parseTokenQuery reads the query of GET /v1/token. It is strict, and it does not
// allocate for a query without escapes: this is the hot path.
func parseTokenQuery(raw string, known []string) (p tokenParams, err error) {
	var seen uint
	for raw != "" && err == nil {
		var name, value string
		if name, value, raw, err = nextParam(raw, known, &seen); err != nil {
			return p, err
		}
		switch name {
		case "resource":
			p.resource, err = text(name, value, maxResource)
		case "account":
			p.account, err = text(name, value, maxAccount)
		case "min_validity":
			p.minValidity, err = seconds(name, value, maxMinValidity)
		case "wait":
			p.wait, err = seconds(name, value, maxWait)
		}
	}
	if err == nil && p.resource == "" {
		err = badRequest("The parameter resource is missing; name a configured resource, for example resource=graph.")
	}
	return p, err
}

// checkQuery holds any other query to the parameters that its route takes.
func checkQuery(raw string, known []string) error {
	var seen uint
	for raw != "" {
		name, value, rest, err := nextParam(raw, known, &seen)
		switch {
		case err != nil:
		case name == "wait":
			_, err = seconds(name, value, maxWait)
		case name == "limit":
			err = number(name, value, maxHistory)
		case name == "check":
			_, err = text(name, value, maxChecks)
		}
		if err != nil {
			return err
		}
		raw = rest
	}
	return nil
}

// nextParam takes the first parameter off a query and refuses one that is not
// known or was seen before. An empty one gives an empty name.
func nextParam(raw string, known []string, seen *uint) (name, value, rest string, err error) {
	pair, rest, _ := strings.Cut(raw, "&")
	if pair == "" {
		return "", "", rest, nil
	}
	name, value, _ = strings.Cut(pair, "=")
	if name, err = url.QueryUnescape(name); err == nil {
		value, err = url.QueryUnescape(value)
	}
	if err != nil {
		return "", "", "", badRequest("The query has a broken % escape; percent-encode every parameter.")
	}
	i := slices.Index(known, name)
	if i < 0 {
		return "", "", "", badRequest(fmt.Sprintf("There is no parameter %s here%s", shown(name), suggestion(name, known)))
	}
	if *seen&(1<<i) != 0 {
		return "", "", "", badRequest("The parameter " + name + " was sent twice; send it once.")
	}
	*seen |= 1 << i
	return name, value, rest, nil
}

// text checks a parameter that holds a name.
func text(name, value string, limit int) (string, error) {
	switch {
	case value == "":
		return "", badRequest("The parameter " + name + " is empty; give it a value, or leave it out.")
	case len(value) > limit:
		return "", badRequest(fmt.Sprintf("The parameter %s is too long; it may hold %d characters.", name, limit))
	case !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl):
		return "", badRequest("The parameter " + name + " holds characters that no name has.")
	}
	return value, nil
}

// seconds checks a parameter that holds a number of seconds.
func seconds(name, value string, limit int) (time.Duration, error) {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil || n > uint64(limit) {
		return 0, badRequest(fmt.Sprintf("The parameter %s must be a number of seconds between 0 and %d.", name, limit))
	}
	return time.Duration(n) * time.Second, nil
}

// number checks a parameter that holds a count of at least 1.
func number(name, value string, limit int) error {
	if n, err := strconv.ParseUint(value, 10, 32); err != nil || n < 1 || n > uint64(limit) {
		return badRequest(fmt.Sprintf("The parameter %s must be a number between 1 and %d.", name, limit))
	}
	return nil
}

// badRequest is a request that is wrong in itself.
func badRequest(detail string) error {
	return token.NewError(token.KindInvalidRequest, "check request", detail)
}

// shown quotes a name of the caller's for an error: shortened, and never a
// value.
func shown(name string) string {
	const limit = 40
	if len(name) > limit {
		name = name[:limit] + "…"
	}
	return strconv.Quote(name)
}

// suggestion is the end of a sentence about an unknown name.
func suggestion(name string, known []string) string {
	if len(known) == 0 {
		return "."
	}
	best, at := "", 3
	for _, k := range known {
		if d := levenshtein.Distance(strings.ToLower(name[:min(len(name), 40)]), k, nil); d < at {
			best, at = k, d
		}
	}
	if best != "" {
		return "; did you mean " + best + "?"
	}
	return "; known are " + oneOf(known) + "."
}

// oneOf writes "a, b or c".
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
