package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/sink"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file joins the token files with the consumers whose policy holds for them
// and the broker that has the tokens.

// tokenFileList is the list of token files in the state directory.
const tokenFileList = "token-files.json"

// wireTokenFiles makes the keeper of the token files that the settings name.
func (p *parts) wireTokenFiles(cfg config.Config) {
	p.files = sink.New(sink.Config{
		Tokens: fileTokens{p}, List: filepath.Join(p.loaded.Places.StateDir, tokenFileList), Log: p.log,
	})
	p.files.Configure(tokenFiles(cfg))
}

// tokenFiles are the files that the settings name, in the order of the consumers.
func tokenFiles(cfg config.Config) []sink.File {
	var out []sink.File
	for _, name := range slices.Sorted(maps.Keys(cfg.Consumers)) {
		if c := cfg.Consumers[name]; c.Sink != "" {
			out = append(out, sink.File{Consumer: name, Path: c.Sink, Format: c.SinkFormat})
		}
	}
	return out
}

// fileWarnings are what is wrong with the token files, for `broker status`.
func (p *parts) fileWarnings() []string {
	var out []string
	for _, problem := range p.files.Problems() {
		out = append(out, problem.Detail)
	}
	return out
}

// checkTokenFile refuses a consumer whose file could not be written.
func (p *parts) checkTokenFile(s consumer.Spec) error {
	if s.Sink == "" {
		return nil
	}
	if err := p.files.Check(s.Sink); err != nil {
		return token.NewError(token.KindInvalidRequest, "add consumer", "The file "+err.Error()+".")
	}
	return nil
}

// fileTokens is what token files are made of: each consumer's own token, as if it
// had asked.
type fileTokens struct{ p *parts }

// identity is the consumer as it is configured now.
func (f fileTokens) identity(name string) (*consumer.Identity, error) {
	id, ok := f.p.consumers.Named(name)
	if !ok {
		return nil, token.NewError(token.KindNotFound, "keep token file", fmt.Sprintf("There is no consumer %q any more.", name))
	}
	return id, id.MayKeepFile(time.Now())
}

// Allowed implements sink.Tokens.
func (f fileTokens) Allowed(_ context.Context, name string) error {
	_, err := f.identity(name)
	return err
}

// Token implements sink.Tokens.
func (f fileTokens) Token(ctx context.Context, name string, minValidity time.Duration) (sink.Current, error) {
	id, err := f.identity(name)
	if err != nil {
		return sink.Current{}, err
	}
	id.Count(time.Now())
	req := token.Request{MinValidity: minValidity}
	if accounts, resources := id.Accounts(), id.Resources(); len(accounts) == 1 && len(resources) == 1 {
		req.Key = token.Key{Account: accounts[0], Resource: resources[0]}
	} // or else its policy refuses
	ans, err := observedTokens{next: f.p.broker, tel: f.p.tel}.Token(ctx, id, req)
	if err != nil {
		return sink.Current{}, err
	}
	e := ans.Entry
	return sink.Current{
		Key: e.Key(), Access: e.Token().Access, ETag: e.ETag(), ExpiresOn: e.Token().ExpiresOn,
		JSON: token.NewSecret(string(e.AppendJSON(nil, time.Now(), ans.FromCache))),
	}, nil
}

// Changed implements sink.Tokens. It waits for the cache, and is no request of the
// consumer's: Token, which is called next, is.
func (f fileTokens) Changed(ctx context.Context, c sink.Current) error {
	_, err := f.p.cache.Changed(ctx, c.Key, c.ETag)
	return err
}

// Written implements sink.Tokens: the consumer has got this token.
func (f fileTokens) Written(name string, c sink.Current) {
	if id, ok := f.p.consumers.Named(name); ok {
		id.Served(c.Key)
		f.p.audited().Issued(id, c.Key, c.ETag, "")
	}
}
