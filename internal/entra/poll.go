package entra

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/m365-token-broker/broker/internal/token"
)

// poll asks for the token of a device code until there is one, the authority
// says a final no, or ctx ends. A request that got no answer of the authority is
// no reason to give up: the code stays good until it expires.
func (s *seam) poll(ctx context.Context, req *http.Request, r request, out *outcome) (*http.Response, error) {
	name := s.names.of(s.ends.host)
	sure := false // the authority knows the grant by this name, or there is no other left
	for {
		if err := out.pace.wait(ctx); err != nil {
			return nil, errWithheld
		}
		r.form.Set("grant_type", name)
		problem := s.redeem(ctx, r, out)
		if knowsName(problem) {
			sure = true
			s.names.keep(s.ends.host, name)
		}
		switch {
		case problem == nil:
			return reply(req, granted())
		case ctx.Err() != nil:
			return nil, errWithheld
		case problem.OAuthError == "authorization_pending":
			out.pace.pending()
		case problem.OAuthError == "slow_down":
			out.pace.slowDown()
		case refusesName(problem) && !sure:
			name, sure = otherName(name), true
			out.pace.pending() // it was a poll like any other, and the next one is due after the interval
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

// knowsName reports whether the outcome of a poll shows that the authority knows
// the grant by the name it was given.
func knowsName(e *token.Error) bool {
	return e == nil || e.OAuthError == "authorization_pending" || e.OAuthError == "slow_down"
}

// refusesName reports whether the authority may not know the grant by the name
// it was given; the other one is then tried, once.
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
		return !isSpent(e.Err) && (e.OAuthError == "" || e.Status == http.StatusOK)
	default:
		return false
	}
}

// isSpent reports whether an answer was a token answer, though one that cannot
// be used: what it was given for, a device code or an authorization code, is
// redeemed then and brings nothing more.
func isSpent(err error) bool {
	return errors.Is(err, errNoAccess) || errors.Is(err, errNoExpiry) || errors.Is(err, errTokenType) || errors.Is(err, errTokenText)
}

// unusable is the error for a 200 answer that is not what was asked for: a
// portal's page, half an answer, or an answer that lacks something.
func unusable(r request, rec record, body []byte, err error) *token.Error {
	e := rec.problem(r.step, r.host)
	e.Err = err
	const ifSo = " If it stays so, check authority in the configuration."
	switch {
	case !isObject(body) || rec.understood:
	case isSpent(err) && (r.step == stepPoll || r.step == stepCode):
		e.Detail = r.host + " finished the sign-in, but its answer cannot be used (" + err.Error() + "), and it gives only one; start the sign-in again." + ifSo
	default:
		e.Detail = r.host + " gave an answer that cannot be used (" + err.Error() + ")" + again(r.step) + ifSo
	}
	return e
}
