package sandbox

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// claimsRequest is the part of a claims parameter (OpenID Connect Core section
// 5.5) that the sandbox obeys.
type claimsRequest struct {
	AccessToken struct {
		Capabilities struct {
			Values []string `json:"values"`
		} `json:"xms_cc"`
		NotBefore struct {
			Value any `json:"value"`
		} `json:"nbf"`
	} `json:"access_token"`
}

// cae reports whether the client declared that it handles claims challenges.
func (c claimsRequest) cae() bool { return slices.Contains(c.AccessToken.Capabilities.Values, "cp1") }

// notBefore is the time that a claims challenge demanded, in Unix seconds.
func (c claimsRequest) notBefore() int64 {
	switch v := c.AccessToken.NotBefore.Value.(type) {
	case string:
		n, _ := strconv.ParseInt(v, 10, 64) // not a number: no demand
		return n
	case float64:
		return int64(v)
	}
	return 0
}

// accessClaims are the claims of an access token.
type accessClaims struct {
	Audience     string   `json:"aud"`
	Issuer       string   `json:"iss"`
	IssuedAt     int64    `json:"iat"`
	NotBefore    int64    `json:"nbf"`
	ExpiresAt    int64    `json:"exp"`
	AIO          string   `json:"aio"` // opaque with Entra; here it brings the token to size
	AppName      string   `json:"app_displayname"`
	AppID        string   `json:"appid"`
	AppIDACR     string   `json:"appidacr"`
	AMR          []string `json:"amr"`
	AuthTime     int64    `json:"auth_time"`
	GivenName    string   `json:"given_name"`
	Name         string   `json:"name"`
	ObjectID     string   `json:"oid"`
	Scopes       string   `json:"scp"`
	Subject      string   `json:"sub"`
	TenantID     string   `json:"tid"`
	UniqueName   string   `json:"unique_name"`
	UPN          string   `json:"upn"`
	Preferred    string   `json:"preferred_username"`
	UTI          string   `json:"uti"`
	Version      string   `json:"ver"`
	Capabilities []string `json:"xms_cc,omitempty"`
	Canary       string   `json:"canary,omitempty"`
	Sandbox      private  `json:"sandbox"`
}

// private is what Graph and EWS need to judge a token.
type private struct {
	Generation int   `json:"gen"`
	NotBefore  int64 `json:"nbf,omitempty"` // the challenge that the token was redeemed with
}

// mintAccess makes an access token of the wanted size.
func (s *Sandbox) mintAccess(is issue, now time.Time, lifetime time.Duration) (string, error) {
	given, _, _ := strings.Cut(is.user.Name, " ")
	c := accessClaims{
		Audience: is.scopes.audience, Issuer: s.issuer(),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), ExpiresAt: now.Add(lifetime).Unix(),
		AppName: appName, AppID: clientID, AppIDACR: "0", AMR: []string{"pwd", "mfa"}, AuthTime: is.signedIn.Unix(),
		GivenName: given, Name: is.user.Name, ObjectID: is.user.ObjectID,
		Scopes: strings.Join(is.scopes.permissions, " "), Subject: s.subject(is.user, is.scopes.audience), TenantID: tenantID,
		UniqueName: is.user.Username, UPN: is.user.Username, Preferred: is.user.Username,
		UTI: randomText(16), Version: "1.0", Canary: strings.Trim(s.canarySuffix(), "-"),
		Sandbox: private{Generation: is.generation, NotBefore: is.claims.notBefore()},
	}
	if is.claims.cae() {
		c.Capabilities = []string{"cp1"}
	}
	bare, err := s.signer.sign(c, s.canarySuffix())
	if err != nil {
		return "", err
	}
	want := sizeOr(s.cfg.Sizes.Access, 1800, 2500)
	if c.AIO = randomChars((want - len(bare)) * 3 / 4); c.AIO == "" {
		return bare, nil
	}
	return s.signer.sign(c, s.canarySuffix())
}

// idClaims are the claims of an ID token (OpenID Connect Core section 2).
type idClaims struct {
	Audience  string `json:"aud"`
	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	ExpiresAt int64  `json:"exp"`
	Name      string `json:"name"`
	Nonce     string `json:"nonce,omitempty"`
	ObjectID  string `json:"oid"`
	Preferred string `json:"preferred_username"`
	Subject   string `json:"sub"`
	TenantID  string `json:"tid"`
	UTI       string `json:"uti"`
	Version   string `json:"ver"`
	Canary    string `json:"canary,omitempty"`
}

func (s *Sandbox) mintID(is issue, now time.Time) (string, error) {
	return s.signer.sign(idClaims{
		Audience: clientID, Issuer: s.issuer(), IssuedAt: now.Unix(), NotBefore: now.Unix(), ExpiresAt: now.Add(time.Hour).Unix(),
		Name: is.user.Name, Nonce: is.nonce, ObjectID: is.user.ObjectID, Preferred: is.user.Username,
		Subject: s.subject(is.user, clientID), TenantID: tenantID, UTI: randomText(16), Version: "2.0",
		Canary: strings.Trim(s.canarySuffix(), "-"),
	}, s.canarySuffix())
}

// subject is pairwise: another one for every audience.
func (s *Sandbox) subject(u User, audience string) string {
	return guidOf(fmt.Sprintf("subject:%s:%s", u.ObjectID, audience))
}
