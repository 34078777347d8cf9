package entra

import (
	"context"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/m365-token-broker/broker/internal/token"
)

// DeviceCode starts a device authorization. Its Wait goes on polling through
// faults of every kind until the person is done, the code expires, or its
// context ends; it may be called again, one call at a time. Errors are
// *token.Error: KindDeclined, KindExpired, KindPolicyBlocked, KindConfiguration …
func (c *Client) DeviceCode(ctx context.Context, app token.App, scopes token.Scopes) (token.DeviceCode, error) {
	if len(scopes) == 0 {
		return token.DeviceCode{}, token.NewError(token.KindConfiguration, stepDeviceCode.op(), "The resource has no scopes; set its scopes in the configuration.")
	}
	s, err := c.open(ctx, app)
	if err != nil {
		return token.DeviceCode{}, err
	}
	client, err := s.msal(app)
	if err != nil {
		return token.DeviceCode{}, err
	}
	out := &outcome{step: stepDeviceCode}
	code, _ := client.AcquireTokenByDeviceCode(out.with(ctx), scopes)
	if out.device == nil {
		return token.DeviceCode{}, out.failure(ctx)
	}
	w := &waiter{app: app, code: code, pace: newPacer(out.device.interval), expiresOn: time.Now().Add(out.device.expiresIn)}
	return token.DeviceCode{
		UserCode: out.device.userCode, VerificationURI: out.device.verificationURI, Message: out.device.message(),
		ExpiresOn: w.expiresOn, Interval: out.device.interval,
		Wait: w.wait, Fault: w.pace.standing,
	}, nil
}

// waiter is a device code that is being polled.
type waiter struct {
	app       token.App
	code      public.DeviceCode
	pace      *pacer
	expiresOn time.Time
}

// wait is DeviceCode.Wait.
func (w *waiter) wait(ctx context.Context) (token.Grant, error) {
	out := &outcome{step: stepPoll, pace: w.pace}
	// MSAL ends the call when the code expires; the seam polls meanwhile.
	_, _ = w.code.AuthenticationResult(out.with(ctx))
	if out.answer != nil {
		return newGrant(w.app, token.FlowDevice, *out.answer, time.Now())
	}
	if out.problem == nil && ctx.Err() == nil && !time.Now().Before(w.expiresOn) {
		return token.Grant{}, w.expired()
	}
	return token.Grant{}, out.failure(ctx)
}

// expired is the error for a code that nobody finished.
func (w *waiter) expired() *token.Error {
	e := token.NewError(token.KindExpired, stepPoll.op(), helpExpired)
	if f := w.pace.standing(); f != nil {
		e.Detail = "The code expired while the authority could not be asked; start the sign-in again. " + f.Detail
		e.Err = f
	}
	return e
}
