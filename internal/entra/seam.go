package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// outcome is what one call learned from the authority. It travels through MSAL
// in the context; MSAL's own result and error are not looked at.
type outcome struct {
	step     step
	pace     *pacer        // for stepPoll
	redirect string        // for stepCode: the redirect address that the browser was sent to
	device   *deviceAnswer // set where a device code was given
	answer   *tokenAnswer  // set where a token was given
	rotated  token.Secret  // a new refresh token, also where the rest was no good
	problem  *token.Error  // set where the authority refused or could not be asked
}

type outcomeKey struct{}

// with puts o into the context that MSAL passes to the seam.
func (o *outcome) with(ctx context.Context) context.Context {
	return context.WithValue(ctx, outcomeKey{}, o)
}

// errWithheld is all that MSAL learns of a failure: its error texts and values
// then hold nothing.
var errWithheld = errors.New("entra: withheld")

// withheld stands for a token in the answers that MSAL sees.
const withheld = "withheld"

// seam is MSAL's HTTP client for one authority. It sends what MSAL built to
// where our own discovery says, reads the answer, keeps it in the outcome, and
// tells MSAL no more than that it worked. Safe for concurrent use.
type seam struct {
	wire  *wire
	ends  endpoints
	names *grantNames
}

// CloseIdleConnections does nothing: the transport is shared.
func (*seam) CloseIdleConnections() {}

// Do answers one request of MSAL's.
func (s *seam) Do(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	out, ok := ctx.Value(outcomeKey{}).(*outcome)
	if !ok {
		return nil, errWithheld
	}
	if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/openid-configuration") {
		return reply(req, map[string]any{
			"issuer":                 "https://" + s.ends.host + "/",
			"authorization_endpoint": s.ends.authorization,
			"token_endpoint":         s.ends.token,
		})
	}
	form, err := readForm(req)
	if err != nil {
		return nil, errWithheld
	}
	r := request{step: out.step, host: s.ends.host, url: s.ends.token, form: form, header: req.Header}
	switch form.Get("grant_type") {
	case "":
		r.url = s.ends.device
		return s.device(ctx, req, r, out)
	case msalDeviceGrant:
		return s.poll(ctx, req, r, out)
	case "authorization_code":
		r.step = stepCode
		if out.redirect != "" {
			form.Set("redirect_uri", out.redirect)
		}
	}
	if out.problem = s.redeem(ctx, r, out); out.problem != nil {
		return nil, errWithheld
	}
	return reply(req, granted())
}

// readForm reads the form that MSAL posts.
func readForm(req *http.Request) (url.Values, error) {
	if req.Method != http.MethodPost || req.Body == nil {
		return nil, errWithheld
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
	if err != nil {
		return nil, err
	}
	return url.ParseQuery(string(body))
}

// granted is the answer that tells MSAL that a token was issued.
func granted() map[string]any {
	return map[string]any{"token_type": "Bearer", "access_token": withheld, "expires_in": 3600}
}

// device asks for a device code.
func (s *seam) device(ctx context.Context, req *http.Request, r request, out *outcome) (*http.Response, error) {
	body, rec, problem := s.wire.send(ctx, r)
	if problem != nil {
		out.problem = problem
		return nil, errWithheld
	}
	answer, err := parseDeviceAnswer(body)
	if err != nil {
		out.problem = unusable(r, rec, body, err)
		return nil, errWithheld
	}
	out.device = &answer
	return reply(req, map[string]any{
		"user_code": answer.userCode, "device_code": answer.deviceCode.Reveal(), "verification_uri": answer.verificationURI,
		"expires_in": int(math.Ceil(answer.expiresIn.Seconds())), "interval": int(math.Ceil(answer.interval.Seconds())),
	})
}

// redeem asks for a token and keeps the answer.
func (s *seam) redeem(ctx context.Context, r request, out *outcome) *token.Error {
	body, rec, problem := s.wire.send(ctx, r)
	if problem != nil {
		return problem
	}
	answer, err := parseTokenAnswer(body, time.Now())
	out.rotated = answer.refresh
	if err != nil {
		rec.oauth, rec.understood = parseOAuthError(body)
		return unusable(r, rec, body, err)
	}
	out.answer = &answer
	return nil
}

// reply makes the HTTP answer that MSAL sees.
func reply(req *http.Request, v map[string]any) (*http.Response, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, errWithheld
	}
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(data)),
		Body: io.NopCloser(bytes.NewReader(data)), Request: req,
	}, nil
}
