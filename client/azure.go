package client

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// CredentialConfig says what a Credential is for.
type CredentialConfig struct {
	// Resource is the name of the resource at the broker.
	Resource string
	// Audience is whom its tokens are for, such as https://graph.microsoft.com: scopes
	// of another audience are refused, so that no service gets a token of another one.
	// It may be left out for graph and ews of the global cloud.
	Audience string
	// Account is an alias or a user name; see Request.
	Account string
}

// Credential is an azcore.TokenCredential of the Azure SDK for Go. That interface
// names two types of azcore, O = policy.TokenRequestOptions and T =
// azcore.AccessToken, which whoever makes a Credential puts in:
//
//	client.NewCredential[policy.TokenRequestOptions, azcore.AccessToken](c, config)
//
// It reads the fields Scopes and Claims of O, and sets Token, ExpiresOn and, where
// there is one, RefreshOn of T, by their names; so it does for every version of
// azcore that has them. TenantID is not looked at, as with managed identities: an
// account of the broker has one tenant. It is safe for concurrent use.
type Credential[O, T any] struct {
	client *Client
	cfg    CredentialConfig
}

// NewCredential makes a Credential. Its error says what O or T lacks, or the
// configuration.
func NewCredential[O, T any](c *Client, cfg CredentialConfig) (*Credential[O, T], error) {
	if cfg.Audience == "" {
		cfg.Audience = map[string]string{"graph": "https://graph.microsoft.com", "ews": "https://outlook.office365.com"}[cfg.Resource]
	}
	cfg.Audience = strings.TrimRight(cfg.Audience, "/")
	switch {
	case c == nil || cfg.Resource == "":
		return nil, errors.New("client: a Credential needs a Client, and a Resource by its name at the broker")
	case cfg.Audience == "":
		return nil, errors.New("client: Audience is missing; say whom the tokens of this resource are for, for example https://graph.microsoft.com")
	}
	text, date := reflect.TypeFor[string](), reflect.TypeFor[time.Time]()
	if err := hasFields(reflect.TypeFor[O](), map[string]reflect.Type{"Scopes": reflect.TypeFor[[]string](), "Claims": text}); err != nil {
		return nil, err
	}
	if err := hasFields(reflect.TypeFor[T](), map[string]reflect.Type{"Token": text, "ExpiresOn": date}); err != nil {
		return nil, err
	}
	return &Credential[O, T]{client: c, cfg: cfg}, nil
}

// hasFields reports whether a struct has these fields.
func hasFields(t reflect.Type, fields map[string]reflect.Type) error {
	for name, kind := range fields {
		if t.Kind() != reflect.Struct {
			return fmt.Errorf("client: %v is no struct; a Credential is made with policy.TokenRequestOptions and azcore.AccessToken", t)
		}
		if f, ok := t.FieldByName(name); !ok || f.Type != kind {
			return fmt.Errorf("client: %v has no field %s %v; a Credential is made with policy.TokenRequestOptions and azcore.AccessToken", t, name, kind)
		}
	}
	return nil
}

// GetToken implements azcore.TokenCredential.
func (c *Credential[O, T]) GetToken(ctx context.Context, options O) (out T, err error) {
	o := reflect.ValueOf(options)
	scopes, _ := reflect.TypeAssert[[]string](o.FieldByName("Scopes"))
	if err := c.check(scopes); err != nil {
		return out, err
	}
	t, err := c.client.Token(ctx, Request{Resource: c.cfg.Resource, Account: c.cfg.Account, Claims: o.FieldByName("Claims").String()})
	if err != nil {
		return out, err
	}
	v := reflect.ValueOf(&out).Elem()
	v.FieldByName("Token").SetString(t.AccessToken())
	v.FieldByName("ExpiresOn").Set(reflect.ValueOf(t.ExpiresOn))
	// The SDK asks again from this time on, and the client then asks the broker.
	if f := v.FieldByName("RefreshOn"); f.IsValid() && f.Type() == reflect.TypeFor[time.Time]() {
		f.Set(reflect.ValueOf(t.ExpiresOn.Add(-closeToEnd)))
	}
	return out, nil
}

// check refuses scopes of another audience.
func (c *Credential[O, T]) check(scopes []string) error {
	for _, s := range scopes {
		audience := s
		if i := strings.LastIndexByte(s, '/'); i > 0 && !strings.HasSuffix(s[:i], ":/") {
			audience = strings.TrimRight(s[:i], "/")
		}
		if !strings.EqualFold(audience, c.cfg.Audience) {
			return fmt.Errorf("client: this credential is for %s and not for %s; make another one for that", c.cfg.Audience, s)
		}
	}
	return nil
}
