package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
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

// deviceGrant is the grant type of RFC 8628 section 3.4, which Microsoft's
// documentation names too. MSAL sends Entra's older short form, which few other
// providers know; it is what we fall back to.
const (
	deviceGrant     = "urn:ietf:params:oauth:grant-type:device_code"
	msalDeviceGrant = "device_code"
)

// seam is MSAL's HTTP client for one authority. It sends what MSAL built to
// where our own discovery says, reads the answer, keeps it in the outcome, and
// tells MSAL no more than that it worked. Safe for concurrent use.
type seam struct {
	wire *wire
	ends endpoints
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
		form.Set("grant_type", deviceGrant)
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

// poll asks for the token of a device code until there is one, the authority
// says a final no, or ctx ends. A request that got no answer of the authority is
// no reason to give up: the code stays good until it expires.
func (s *seam) poll(ctx context.Context, req *http.Request, r request, out *outcome) (*http.Response, error) {
	for {
		if err := out.pace.wait(ctx); err != nil {
			return nil, errWithheld
		}
		problem := s.redeem(ctx, r, out)
		switch {
		case problem == nil:
			return reply(req, granted())
		case ctx.Err() != nil:
			return nil, errWithheld
		case problem.OAuthError == "authorization_pending":
			out.pace.pending()
		case problem.OAuthError == "slow_down":
			out.pace.slowDown()
		case refusesName(problem) && r.form.Get("grant_type") == deviceGrant:
			r.form.Set("grant_type", msalDeviceGrant)
		case passing(problem):
			if out.pace.failed(problem) {
				s.wire.log.WarnContext(ctx, "polling the device code failed; the same code goes on", slog.Any("problem", problem))
			}
		default:
			out.problem = problem
			return nil, errWithheld
		}
	}
}

// refusesName reports whether the authority may not know the grant by the name
// it was given; MSAL's own name for it is then tried, once.
func refusesName(e *token.Error) bool {
	return e.OAuthError == "unsupported_grant_type" || e.OAuthError == "invalid_request"
}

// passing reports whether a poll that failed with e is worth repeating: nothing
// of the authority's arrived, or it asked for patience.
func passing(e *token.Error) bool {
	switch e.Kind {
	case token.KindUnavailable, token.KindTimeout, token.KindThrottled:
		return true
	case token.KindInvalid:
		return e.OAuthError == "" || e.Status == http.StatusOK
	default:
		return false
	}
}

// unusable is the error for a 200 answer that is not what was asked for: a
// portal's page, half an answer, or an answer that lacks something.
func unusable(r request, rec record, body []byte, err error) *token.Error {
	e := rec.problem(r.step, r.host)
	e.Err = err
	if isObject(body) && !rec.understood {
		e.Detail = r.host + " gave an answer that cannot be used (" + err.Error() + "); the broker tries again by itself. If it stays so, check authority in the configuration."
	}
	return e
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
