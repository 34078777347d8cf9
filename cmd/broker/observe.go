package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/m365-token-broker/broker/internal/broker"
	"github.com/m365-token-broker/broker/internal/cache"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/entra"
	"github.com/m365-token-broker/broker/internal/mapiadapter"
	"github.com/m365-token-broker/broker/internal/telemetry"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file wraps the seams between the parts in spans and metrics. Each
// wrapper is the seam's own interface around the next one, so that no part
// knows of telemetry.

// observedTokens is the way of a consumer's request: span token.get.
type observedTokens struct {
	next *broker.Broker
	tel  *telemetry.Telemetry
}

func (o observedTokens) Token(ctx context.Context, id *consumer.Identity, req token.Request) (cache.Answer, error) {
	ctx, call := o.tel.TokenGet(ctx, id.Label, req.Key)
	ans, err := o.next.Token(ctx, id, req)
	call.Done(result(ans, err))
	return ans, err
}

// Changed is counted when its wait is over: the wait is the caller's wish and
// says nothing about how long the broker takes.
func (o observedTokens) Changed(ctx context.Context, id *consumer.Identity, req token.Request, etag string) (cache.Answer, error) {
	ans, err := o.next.Changed(ctx, id, req, etag)
	_, call := o.tel.TokenGet(ctx, id.Label, req.Key)
	call.Done(result(ans, err))
	return ans, err
}

// result is what telemetry is told of an answer.
func result(ans cache.Answer, err error) telemetry.TokenResult {
	if err != nil {
		return telemetry.TokenResult{Err: err}
	}
	r := telemetry.TokenResult{Key: ans.Entry.Key(), Source: "cache"}
	if !ans.FromCache {
		r.Source, r.Trace = "refresh", ans.Entry.Token().Trace
	}
	if ans.Warning != nil {
		r.Warning, r.Trace = ans.Warning, ans.Warning.Trace
	}
	return r
}

// observedSource is one upstream redemption: span token.refresh, to which every
// waiter links.
type observedSource struct {
	next token.Source
	tel  *telemetry.Telemetry
}

func (o observedSource) Token(ctx context.Context, req token.Request) (token.Token, error) {
	ctx, done := o.tel.TokenRefresh(ctx, req.Key)
	tok, err := o.next.Token(ctx, req)
	done(err)
	tok.Trace = o.tel.TraceRef(ctx)
	if err != nil {
		e := *token.AsError(err)
		e.Trace = tok.Trace
		return token.Token{}, &e
	}
	return tok, nil
}

// redeem is the token request itself: span entra.redeem.
func redeem(client *entra.Client, tel *telemetry.Telemetry) broker.Redeem {
	return func(ctx context.Context, g token.Grant, scopes token.Scopes, claims string) (token.Token, token.Secret, error) {
		ctx, done := tel.Span(ctx, telemetry.SpanEntraRedeem)
		r, err := client.Redeem(ctx, g, scopes, claims)
		done(err)
		if !r.Rotated {
			r.RefreshToken = token.Secret{}
		}
		return r.Token, r.RefreshToken, err
	}
}

// observedAuthority is what sign-ins are made with: span entra.device_code for
// the code, span signin for the person's part. A tenant that the configuration
// names by its domain is resolved to its GUID here, once per sign-in, and kept so.
type observedAuthority struct {
	next *entra.Client
	tel  *telemetry.Telemetry
}

func (o observedAuthority) DeviceCode(ctx context.Context, app token.App, scopes token.Scopes) (token.DeviceCode, error) {
	ctx, done := o.tel.Span(ctx, telemetry.SpanEntraDeviceCode)
	app, err := o.next.ResolveTenant(ctx, app)
	if err != nil {
		done(err)
		return token.DeviceCode{}, err
	}
	dc, err := o.next.DeviceCode(ctx, app, scopes)
	done(err)
	if err != nil {
		return dc, err
	}
	wait := dc.Wait
	dc.Wait = func(ctx context.Context) (token.Grant, error) {
		ctx, done := o.tel.Span(ctx, telemetry.SpanSignIn, telemetry.Attr{Key: telemetry.AttrFlow, Value: string(token.FlowDevice)})
		g, err := wait(ctx)
		done(err)
		return g, err
	}
	return dc, nil
}

func (o observedAuthority) Browser(ctx context.Context, app token.App, scopes token.Scopes, loginHint string, open func(string) error) (token.Grant, error) {
	ctx, done := o.tel.Span(ctx, telemetry.SpanSignIn, telemetry.Attr{Key: telemetry.AttrFlow, Value: string(token.FlowBrowser)})
	app, err := o.next.ResolveTenant(ctx, app)
	if err != nil {
		done(err)
		return token.Grant{}, err
	}
	g, err := o.next.Browser(ctx, app, scopes, loginHint, open)
	done(err)
	return g, err
}

// observedStore is the secret store: spans credstore.save and credstore.load,
// and a count of its errors.
type observedStore struct {
	next credstore.Store
	tel  *telemetry.Telemetry
}

func (o observedStore) Save(ctx context.Context, id string, data []byte) error {
	ctx, done := o.tel.Span(ctx, telemetry.SpanCredstoreSave)
	err := o.next.Save(ctx, id, data)
	done(err)
	return o.count(ctx, "save", err)
}

func (o observedStore) Load(ctx context.Context, id string) ([]byte, error) {
	ctx, done := o.tel.Span(ctx, telemetry.SpanCredstoreLoad)
	data, err := o.next.Load(ctx, id)
	done(err)
	return data, o.count(ctx, "load", err)
}

func (o observedStore) Delete(ctx context.Context, id string) error {
	return o.count(ctx, "delete", o.next.Delete(ctx, id))
}

func (o observedStore) List(ctx context.Context) ([]string, error) {
	ids, err := o.next.List(ctx)
	return ids, o.count(ctx, "list", err)
}

func (o observedStore) count(ctx context.Context, op string, err error) error {
	if err != nil && !errors.Is(err, credstore.ErrNotFound) {
		o.tel.CredstoreError(ctx, op, credstore.ReasonOf(err).String())
	}
	return err
}

// renewed is an attempt at Outlook that ended: span mapi.renewal. It is called by
// the target's machine, which must not wait: it asks p.outlook nothing.
func (p *parts) renewed(r mapiadapter.Renewal) {
	p.tel.Renewal(context.Background(), renewal(r)) // no request's: a trace of its own
}

// renewal is what telemetry is told of an attempt.
func renewal(r mapiadapter.Renewal) telemetry.Renewal {
	proof := r.Proof
	if r.Reason != mapiadapter.ReasonNone {
		proof = "" // an earlier one still holds, and this attempt gave none
	}
	details := []telemetry.Attr{
		{Key: telemetry.AttrMAPICause, Value: string(r.Cause)},
		{Key: telemetry.AttrMAPIProof, Value: string(proof)},
	}
	if r.HResult != 0 {
		details = append(details, telemetry.Attr{Key: telemetry.AttrMAPIHResult, Value: fmt.Sprintf("0x%08X", r.HResult)})
	}
	if r.Sight.State != "" { // somebody sees the session
		details = append(details,
			telemetry.Attr{Key: telemetry.AttrMAPISession, Value: string(r.Sight.State)},
			telemetry.Attr{Key: telemetry.AttrMAPILocked, Value: strconv.FormatBool(r.Sight.Locked)})
	}
	return telemetry.Renewal{
		Target: r.Target.Name, Account: r.Target.Account,
		Action: string(r.Action), Result: string(r.To), Reason: string(r.Reason),
		OK:    r.To == mapiadapter.Idle && r.Proof != "",
		Parts: renewalParts(r), Details: details,
	}
}

// renewalParts are the whole, and the parts that came: each ends when the next
// one begins.
func renewalParts(r mapiadapter.Renewal) []telemetry.RenewalPart {
	var parts []telemetry.RenewalPart
	for _, part := range []telemetry.RenewalPart{
		{Name: telemetry.SpanMAPIPrecheck, Began: r.Precheck},
		{Name: telemetry.SpanMAPITrigger, Began: r.Trigger},
		{Name: telemetry.SpanMAPIObserve, Began: r.Observe},
	} {
		if part.Began.IsZero() {
			continue
		}
		if len(parts) > 0 {
			parts[len(parts)-1].Ended = part.Began
		}
		part.Ended = r.Ended
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return nil
	}
	if !r.Probe.IsZero() {
		probe := telemetry.RenewalPart{Name: telemetry.SpanMAPIProbe, Began: r.Probe, Ended: r.Probed}
		if probe.Ended.IsZero() {
			probe.Ended = r.Ended
		}
		parts = append(parts, probe)
	}
	whole := telemetry.RenewalPart{Name: telemetry.SpanMAPIRenewal, Began: parts[0].Began, Ended: r.Ended}
	return append([]telemetry.RenewalPart{whole}, parts...)
}

// mapiSamples is what the gauges show of the Outlook targets.
func (p *parts) mapiSamples() []telemetry.MAPISample {
	var samples []telemetry.MAPISample
	for _, v := range p.outlook.Targets() {
		samples = append(samples, telemetry.MAPISample{
			Target: v.Name, Phase: string(v.Phase), Freshness: string(v.Freshness), ProvedOn: v.LastProof,
		})
	}
	return samples
}

// words are the values of a closed set, as telemetry knows them.
func words[T ~string](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return all
}
