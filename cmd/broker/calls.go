package main

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

const (
	// callTime bounds one call that does not wait on purpose. It is longer than
	// the broker gives a renewal, so that the broker's own answer arrives.
	callTime = 45 * time.Second
	// pollSeconds is how long one look at a sign-in may be held.
	pollSeconds = 30
	// afterTime bounds what must still be done once a command was interrupted.
	afterTime = 5 * time.Second
)

// withAPI connects, runs do until it is done or interrupted, and ends an
// in-process broker, whose last words are errors too.
func withAPI(cmd *cobra.Command, o *options, do func(ctx context.Context, a *api) error) (err error) {
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a, err := connect(ctx, o)
	if err != nil {
		return err
	}
	defer func() {
		if failed := a.close(); err == nil {
			err = failed
		}
	}()
	return do(ctx, a)
}

// do is call with a deadline.
func (a *api) do(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return a.call(ctx, method, path, nil, in, out)
}

// afterwards is a context for cleaning up after ctx has ended.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), afterTime)
}

func (a *api) accounts(ctx context.Context) ([]httpapi.Account, error) {
	var list httpapi.AccountList
	err := a.do(ctx, http.MethodGet, "/v1/accounts", nil, &list)
	return list.Accounts, err
}

func (a *api) account(ctx context.Context, name string) (out httpapi.Account, err error) {
	err = a.do(ctx, http.MethodGet, "/v1/accounts/"+url.PathEscape(name), nil, &out)
	return out, err
}

func (a *api) signOut(ctx context.Context, name string) error {
	return a.do(ctx, http.MethodDelete, "/v1/accounts/"+url.PathEscape(name), nil, nil)
}

func (a *api) startSignIn(ctx context.Context, in httpapi.SignInRequest) (out httpapi.SignIn, err error) {
	err = a.do(ctx, http.MethodPost, "/v1/signins", in, &out)
	return out, err
}

// signIn looks at a sign-in; the answer is held until it changes or the time is
// over.
func (a *api) signIn(ctx context.Context, id string) (out httpapi.SignIn, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	query := url.Values{"wait": {strconv.Itoa(pollSeconds)}}
	err = a.call(ctx, http.MethodGet, "/v1/signins/"+url.PathEscape(id), query, nil, &out)
	return out, err
}

func (a *api) cancelSignIn(ctx context.Context, id string) (out httpapi.SignIn, err error) {
	err = a.do(ctx, http.MethodDelete, "/v1/signins/"+url.PathEscape(id), nil, &out)
	return out, err
}

// token asks for a token; only a forced one needs POST, which the broker limits
// in rate.
func (a *api) token(ctx context.Context, in httpapi.TokenRequest) (out httpapi.Token, err error) {
	if in.ForceRefresh {
		err = a.do(ctx, http.MethodPost, "/v1/token", in, &out)
		return out, err
	}
	query := url.Values{"resource": {in.Resource}}
	if in.Account != "" {
		query.Set("account", in.Account)
	}
	if in.MinValidity > 0 {
		query.Set("min_validity", strconv.Itoa(in.MinValidity))
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	err = a.call(ctx, http.MethodGet, "/v1/token", query, nil, &out)
	return out, err
}

func (a *api) consumers(ctx context.Context) ([]httpapi.Consumer, error) {
	var list httpapi.ConsumerList
	err := a.do(ctx, http.MethodGet, "/v1/consumers", nil, &list)
	return list.Consumers, err
}

func (a *api) addConsumer(ctx context.Context, in httpapi.ConsumerRequest) (out httpapi.ConsumerKey, err error) {
	err = a.do(ctx, http.MethodPost, "/v1/consumers", in, &out)
	return out, err
}

func (a *api) rotateConsumer(ctx context.Context, name string, overlap time.Duration) (out httpapi.ConsumerKey, err error) {
	seconds := int(overlap.Seconds())
	err = a.do(ctx, http.MethodPost, consumerPath(name)+"/rotate", httpapi.RotateRequest{OverlapSeconds: &seconds}, &out)
	return out, err
}

func (a *api) renewConsumer(ctx context.Context, name string, lease time.Duration) error {
	return a.do(ctx, http.MethodPost, consumerPath(name)+"/renew", httpapi.RenewRequest{LeaseSeconds: int(lease.Seconds())}, nil)
}

func (a *api) removeConsumer(ctx context.Context, name string) error {
	return a.do(ctx, http.MethodDelete, consumerPath(name), nil, nil)
}

func consumerPath(name string) string { return "/v1/consumers/" + url.PathEscape(name) }

func (a *api) status(ctx context.Context) (out httpapi.Status, err error) {
	err = a.do(ctx, http.MethodGet, "/v1/status", nil, &out)
	return out, err
}
