package httpapi

import (
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

// TestViolations holds the sentences about wrong members, word for word: they
// say what is expected, so that nobody has to open the document.
func TestViolations(t *testing.T) {
	const (
		name    = `The member "name" is not right; it takes at most 64 lower-case letters, digits, dots, hyphens and underscores, a letter or digit first (for example crm).`
		rate    = `The member "rate" is not right; it takes requests per second, minute or hour, and where wanted how many at once: 50/s, 10/m, 50/s burst 100.`
		lease   = `The member "lease_seconds" must be a whole number from 5 to 86400: for how many seconds the consumer lives (for example 120).`
		overlap = `The member "overlap_seconds" must be a whole number from 0 to 2592000: for how many seconds the key that was current goes on working.`
		left    = `The member "min_validity" must be a whole number from 0 to 86400: for how many seconds the token must at least be valid.`
		flow    = `The member "flow" must be device or browser.`
	)
	s := newStack(t)
	for _, tt := range []struct{ path, body, want string }{
		{"/v1/consumers", `{"name":"My App"}`, name},
		{"/v1/consumers", `{"name":"-crm"}`, name},
		{"/v1/consumers", `{"name":""}`, `The member "name" is empty; it takes at most 64 lower-case letters, digits, dots, hyphens and underscores, a letter or digit first (for example crm).`},
		{"/v1/consumers", `{"name":"` + strings.Repeat("x", 65) + `"}`, `The member "name" is too long: it may hold 64 characters.`},
		{"/v1/consumers", `{"name":"x","rate":"fast"}`, rate},
		{"/v1/consumers", `{"name":"x","rate":""}`, rate},
		{"/v1/consumers", `{"lease_seconds":4}`, lease},
		{"/v1/consumers", `{"lease_seconds":"120"}`, lease},
		{"/v1/consumers", `{"lease_seconds":86401}`, lease},
		{"/v1/consumers", `{"name":"x","metrics":1}`, `The member "metrics" must be true or false.`},
		{"/v1/consumers", `{"name":"x","accounts":[""]}`, `The member "accounts.0" is empty; it takes an account's alias from the configuration, or its user name (for example ops).`},
		{"/v1/consumers", `{"name":"x","accounts":["a"` + strings.Repeat(`,"a"`, 256) + `]}`, `The member "accounts" has too many entries: it may hold 256.`},
		{"/v1/consumers", `{"nam":"x"}`, `There is no member "nam" here; did you mean name?`},
		{"/v1/consumers", `{"name":"x","name":"y"}`, `The member "name" was sent twice; send it once.`},
		{"/v1/consumers/crm/rotate", `{"overlap_seconds":-1}`, overlap},
		{"/v1/consumers/crm/rotate", `{"overlap_seconds":2592001}`, overlap},
		{"/v1/consumers/crm/renew", `{"lease_seconds":1.5}`, lease},
		{tokenPath, `{"resource":"graph","min_validity":86401}`, left},
		{tokenPath, `{"resource":"graph","min_validity":"10m"}`, left},
		{tokenPath, `{"resource":"graph","claims":7}`, `The member "claims" must be a JSON object, or a text that holds one.`},
		{"/v1/signins", `{"flow":"password"}`, flow},
		{"/v1/signins", `{"flow":1}`, flow},
		{"/v1/signins", `{"flow":null}`, flow},
	} {
		res := s.do(call{method: "POST", path: tt.path, key: s.admin, body: tt.body})
		if p := s.problem(res, 400, token.KindInvalidRequest); p.Detail != tt.want {
			t.Errorf("%s %s:\n got %s\nwant %s", tt.path, tt.body, p.Detail, tt.want)
		}
	}
}
