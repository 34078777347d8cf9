package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

// An error of the broker ends with the ID under which its log has more, where it
// has.
func TestErrorsNameTheRequest(t *testing.T) {
	const note = "(request 5f0c9a7be2d41c38; the broker's log has more)\n"
	noted := map[token.Kind]bool{
		token.KindInternal: true, token.KindStore: true,
		token.KindUnavailable: true, token.KindInvalid: true, token.KindTimeout: true,
	}
	for _, k := range token.Kinds() {
		for _, local := range []bool{false, true} {
			a := &api{base: "http://broker.test", key: token.NewSecret("bra_x"), local: local}
			a.http = &http.Client{Transport: answers(func(req *http.Request) (*http.Response, error) {
				return answerWith(req, http.StatusServiceUnavailable, fmt.Sprintf(
					`{"code":%q,"detail":"No.","instance":"5f0c9a7be2d41c38","correlation_id":"c1"}`, k.Code())), nil
			})}
			err := a.call(t.Context(), http.MethodGet, "/v1/status", nil, nil, nil)
			if token.KindOf(err) != k || exitCode(err) != exitCode(&token.Error{Kind: k}) {
				t.Errorf("%s became %v with exit code %d", k, err, exitCode(err))
			}
			var out bytes.Buffer
			report(&out, err)
			if !strings.HasPrefix(out.String(), "broker: No. ("+k.Code()+")\n") {
				t.Errorf("%s: %q", k, out.String())
			}
			if got := strings.HasSuffix(out.String(), note); got != (noted[k] && !local) {
				t.Errorf("%s, in process %v: %q", k, local, out.String())
			}
		}
	}
}
