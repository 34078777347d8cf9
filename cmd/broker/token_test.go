package main

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// The forms of a token are exactly those that other programs expect: RFC 6750
// section 2.1, the SASL XOAUTH2 mechanism, and what az account get-access-token
// prints, of which there is no subscription.
func TestTokenOutputs(t *testing.T) {
	on := time.Date(2026, 11, 22, 12, 34, 56, 0, time.Local)
	const access = "eyJ0.token"
	seconds := strconv.FormatInt(on.Unix(), 10)
	a := &api{base: "http://broker.test", http: &http.Client{Transport: answers(func(req *http.Request) (*http.Response, error) {
		body := `{"account":"ops","username":"ops@contoso.com","tenant":"11111111-2222-3333-4444-555555555555","state":"ok"}`
		if req.URL.Path == "/v1/token" {
			body = `{"access_token":"` + access + `","token_type":"Bearer","expires_on":` + seconds + `,"account":"ops","resource":"imap"}`
		}
		return answerWith(req, http.StatusOK, body), nil
	})}}
	xoauth2 := base64.StdEncoding.EncodeToString([]byte("user=ops@contoso.com\x01auth=Bearer " + access + "\x01\x01"))
	for output, want := range map[string]string{
		outputRaw:     access + "\n",
		outputHeader:  "Authorization: Bearer " + access + "\n",
		outputXOAuth2: xoauth2 + "\n",
		outputAzCLI: `{
  "accessToken": "` + access + `",
  "expiresOn": "2026-11-22 12:34:56.000000",
  "expires_on": ` + seconds + `,
  "subscription": "",
  "tenant": "11111111-2222-3333-4444-555555555555",
  "tokenType": "Bearer"
}
`,
	} {
		var out bytes.Buffer
		err := printToken(t.Context(), &options{env: environment{stdout: &out}}, a, httpapi.TokenRequest{Resource: "imap"}, output)
		if err != nil || out.String() != want {
			t.Errorf("%s: %q, %v; want %q", output, out.String(), err, want)
		}
		if strings.Contains(xoauth2, "\n") {
			t.Error("the base64 is folded")
		}
	}
}
