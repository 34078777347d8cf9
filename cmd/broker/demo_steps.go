package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

func (s *story) start(ctx context.Context) (err error) {
	began := time.Now()
	if s.child, err = s.serve(ctx); err != nil {
		return err
	}
	s.say("listening on %s after %d ms; the sign-in will be kept in an encrypted file", s.child.listen, time.Since(began).Milliseconds())
	return nil
}

// serve starts the broker.
func (s *story) serve(ctx context.Context) (*child, error) {
	return startChild(ctx, s.dir, "--config", s.config, "--scripted-desktop", s.desktop(), "--scripted-brisk")
}

func (s *story) signIn(ctx context.Context) error {
	var v httpapi.SignIn
	if err := s.child.admin.call(ctx, http.MethodPost, "/v1/signins", nil, httpapi.SignInRequest{Flow: httpapi.FlowDevice}, &v); err != nil {
		return err
	}
	s.say("the broker shows:  %s", v.Message)
	if err := s.sb.Approve(v.UserCode, demoUser); err != nil {
		return err
	}
	s.say("the person types the code on the sandbox's page and approves as %s", demoUser)
	if err := s.child.admin.call(ctx, http.MethodGet, "/v1/signins/"+v.ID, url.Values{"wait": {"30"}}, nil, &v); err != nil {
		return err
	}
	if v.State != httpapi.SignInStateSucceeded {
		return fmt.Errorf("the sign-in ended as %s: %s", v.State, v.Problem.Detail)
	}
	s.say("signed in as %s; the refresh token is stored and was read back", v.Account)
	return nil
}

// makeConsumer gives a program its key, and shows what a wrong one gets.
func (s *story) makeConsumer(ctx context.Context) error {
	var made httpapi.ConsumerKey
	req := httpapi.ConsumerRequest{Name: "demo", Accounts: []string{demoUser}, Resources: []string{"graph", "ews"}}
	if err := s.child.admin.call(ctx, http.MethodPost, "/v1/consumers", nil, req, &made); err != nil {
		return err
	}
	wrong := s.consumer(token.NewSecret("brk_" + strings.Repeat("A", 43)))
	err := wrong.call(ctx, http.MethodGet, "/v1/token", url.Values{"resource": {"graph"}}, nil, nil)
	if token.KindOf(err) != token.KindUnauthenticated {
		return fmt.Errorf("a wrong key was not refused: %w", err)
	}
	s.key = token.NewSecret(made.Key)
	s.say("consumer demo may have graph and ews tokens of %s; a wrong key gets 401", demoUser)
	return nil
}

// callers is how many ask at once.
const callers = 200

func (s *story) manyCallers(ctx context.Context) error {
	before := s.sb.Stats().Redemptions
	took := make([]time.Duration, callers)
	var group errgroup.Group
	for i := range callers {
		group.Go(func() error {
			began := time.Now()
			_, err := s.token(ctx, "graph")
			took[i] = time.Since(began)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	redeemed := s.sb.Stats().Redemptions - before
	slices.Sort(took)
	s.say("%d callers, %d answers, %d request to the authority (median %.1f ms, slowest %.1f ms)",
		callers, callers, redeemed, milliseconds(took[callers/2]), milliseconds(took[callers-1]))
	if redeemed != 1 {
		return fmt.Errorf("%d redemptions, want 1", redeemed)
	}
	began := time.Now()
	t, err := s.token(ctx, "graph")
	if err != nil {
		return err
	}
	s.say("asked again: a token of %d characters, valid for %d s, from the %s in %.2f ms", len(t.AccessToken), t.ExpiresIn, t.Source, milliseconds(time.Since(began)))
	return nil
}

func (s *story) callServices(ctx context.Context) error {
	for _, resource := range []string{"graph", "ews"} {
		t, err := s.token(ctx, resource)
		if err != nil {
			return err
		}
		line, err := s.callService(ctx, resource, t.AccessToken)
		if err != nil {
			return err
		}
		s.say("%s", line)
	}
	return nil
}

// expiry asks ten times a second, for longer than a token lives.
func (s *story) expiry(ctx context.Context) error {
	seen := map[string]bool{}
	var took []time.Duration
	for end := time.Now().Add(demoLifetime + 2*time.Second); time.Now().Before(end); {
		began := time.Now()
		t, err := s.token(ctx, "graph")
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
		seen[t.AccessToken] = true
		if t.ExpiresIn <= 0 {
			return errors.New("an expired token was served")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	slices.Sort(took)
	s.say("tokens live %v here; asked %d times over %v: %d different tokens, none expired, median answer %.2f ms",
		demoLifetime, len(took), demoLifetime+2*time.Second, len(seen), milliseconds(took[len(took)/2]))
	if len(seen) < 2 {
		return errors.New("the token was not renewed")
	}
	return nil
}

func (s *story) killed(ctx context.Context) (err error) {
	s.child.kill()
	s.say("killed; the authority refuses a refresh token that was used before, so the last one must have been stored")
	before := s.sb.Stats().SignIns
	began := time.Now()
	if s.child, err = s.serve(ctx); err != nil {
		return err
	}
	t, err := s.token(ctx, "graph")
	if err != nil {
		return err
	}
	if s.sb.Stats().SignIns != before {
		return errors.New("it needed a new sign-in")
	}
	s.say("started again: the program's old key gets a new token (%d s) without a sign-in, %d ms after the start", t.ExpiresIn, time.Since(began).Milliseconds())
	return nil
}

func (s *story) revoked(ctx context.Context) error {
	if err := s.sb.Revoke(demoUser); err != nil {
		return err
	}
	if t, err := s.token(ctx, "graph"); err == nil {
		s.say("graph: the token in hand is still valid for %d s and is served", t.ExpiresIn)
	}
	_, err := s.token(ctx, "ews")
	e, ok := errors.AsType[*token.Error](err)
	if !ok || e.Kind != token.KindSignInRequired {
		return fmt.Errorf("want sign-in-required, got %w", err)
	}
	s.say("ews:   409 %s: %s", e.Kind.Code(), e.Detail)
	var account httpapi.Account
	if err := s.child.admin.call(ctx, http.MethodGet, "/v1/accounts/"+demoUser, nil, nil, &account); err != nil {
		return err
	}
	s.say("broker accounts says: %s", account.State)
	return nil
}

func (s *story) healed(ctx context.Context) error {
	if err := s.signIn(ctx); err != nil {
		return err
	}
	t, err := s.token(ctx, "ews")
	if err != nil {
		return err
	}
	s.say("ews:   a token again, valid for %d s; the program did nothing", t.ExpiresIn)
	return nil
}

func (s *story) stop(ctx context.Context) error {
	began := time.Now()
	if s.agent != nil {
		if err := s.agent.stop(ctx); err != nil {
			return err
		}
	}
	if err := s.child.stop(ctx); err != nil {
		return err
	}
	s.say("stopped in %d ms", time.Since(began).Milliseconds())
	if err := s.writtenDown(); err != nil {
		return err
	}
	s.say("the demo's files are removed")
	return nil
}

// consumer is the program that calls the broker.
func (s *story) consumer(key token.Secret) *api {
	c := *s.child.admin
	c.key = key
	return &c
}

// token asks for a token as the program does.
func (s *story) token(ctx context.Context, resource string) (t httpapi.Token, err error) {
	err = s.consumer(s.key).call(ctx, http.MethodGet, "/v1/token", url.Values{"resource": {resource}}, nil, &t)
	return t, err
}

// milliseconds is a duration for people.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
