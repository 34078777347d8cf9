package entra

import (
	"context"
	"net/http"
	"net/url"

	"github.com/google/uuid"

	"github.com/m365-token-broker/broker/internal/token"
)

// CheckRegistration asks the authority whether app may sign people in with a
// device code: it starts one and asks for its token once, since Entra refuses an
// app that is no public client only there. Nobody is shown the code, so that
// nobody can sign in with it, and it expires by itself. A Conditional Access policy
// against device codes shows itself to a person only, and not here.
func (c *Client) CheckRegistration(ctx context.Context, app token.App, scopes token.Scopes) error {
	s, err := c.open(ctx, app)
	if err != nil {
		return err
	}
	r := request{
		step: stepDeviceCode, host: s.ends.host, url: s.ends.device,
		form:   url.Values{"client_id": {app.ClientID}, "scope": {scopes.String()}},
		header: http.Header{"Client-Request-Id": {uuid.NewString()}},
	}
	body, rec, problem := s.wire.send(ctx, r)
	if problem != nil {
		return problem
	}
	answer, err := parseDeviceAnswer(body)
	if err != nil {
		return unusable(r, rec, body, err)
	}
	name := s.names.of(s.ends.host)
	problem = s.pollOnce(ctx, app, answer, name)
	if problem != nil && refusesName(problem) && problem.AADSTS == 0 {
		problem = s.pollOnce(ctx, app, answer, otherName(name))
	}
	if knowsName(problem) {
		return nil
	}
	return problem
}

// pollOnce asks for the token of a device code that nobody knows. An answer that
// holds one all the same is dropped.
func (s *seam) pollOnce(ctx context.Context, app token.App, a deviceAnswer, name string) *token.Error {
	_, _, problem := s.wire.send(ctx, request{
		step: stepPoll, host: s.ends.host, url: s.ends.token,
		form:   url.Values{"client_id": {app.ClientID}, "grant_type": {name}, "device_code": {a.deviceCode.Reveal()}},
		header: http.Header{"Client-Request-Id": {uuid.NewString()}},
	})
	return problem
}
