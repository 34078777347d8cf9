package proxy

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/token"
)

const claimsText = `{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}`

var claims64 = base64.StdEncoding.EncodeToString([]byte(claimsText))

func TestClaimsOf(t *testing.T) {
	for name, c := range map[string]struct {
		header []string
		want   string
	}{
		"Graph":             {[]string{`Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="` + claims64 + `"`}, claimsText},
		"without padding":   {[]string{`Bearer error="insufficient_claims", claims="` + strings.TrimRight(claims64, "=") + `"`}, claimsText},
		"JSON itself":       {[]string{`Bearer claims="{\"a\":1}", error="insufficient_claims"`}, `{"a":1}`},
		"names in capitals": {[]string{`BEARER Error="insufficient_claims" , Claims = "` + claims64 + `"`}, claimsText},
		"error as a token":  {[]string{`Bearer error=insufficient_claims,claims="` + claims64 + `"`}, claimsText},
		"behind Basic":      {[]string{`Basic realm="a, Bearer error=\"x\"", Negotiate, Bearer error="insufficient_claims", claims="` + claims64 + `"`}, claimsText},
		"before NTLM":       {[]string{`Bearer error="insufficient_claims", claims="` + claims64 + `", NTLM TlRMTVNTUAAC==`}, claimsText},
		"second line":       {[]string{`Bearer broken="`, `Bearer error="insufficient_claims", claims="` + claims64 + `"`}, claimsText},
		"second challenge":  {[]string{`Bearer realm="a", Bearer error="insufficient_claims", claims="` + claims64 + `"`}, claimsText},

		"none":               {nil, ""},
		"no claims":          {[]string{`Bearer error="insufficient_claims"`}, ""},
		"another error":      {[]string{`Bearer error="invalid_token", claims="` + claims64 + `"`}, ""},
		"no error":           {[]string{`Bearer claims="` + claims64 + `"`}, ""},
		"another scheme":     {[]string{`PoP error="insufficient_claims", claims="` + claims64 + `"`}, ""},
		"claims of another":  {[]string{`Bearer error="insufficient_claims", PoP claims="` + claims64 + `"`}, ""},
		"claims in a string": {[]string{`Basic realm="Bearer error=insufficient_claims, claims=` + claims64 + `"`}, ""},
		"claims twice":       {[]string{`Bearer error="insufficient_claims", claims="` + claims64 + `", claims="e30"`}, ""},
		"no base64":          {[]string{`Bearer error="insufficient_claims", claims="{"`}, ""},
		"no object":          {[]string{`Bearer error="insufficient_claims", claims="W10="`}, ""},
		"no comma":           {[]string{`Bearer error="insufficient_claims" claims="` + claims64 + `"`}, ""},
		"open string":        {[]string{`Bearer error="insufficient_claims", claims="` + claims64}, ""},
		"tab for a space":    {[]string{"Bearer\terror=\"insufficient_claims\", claims=\"" + claims64 + `"`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := claimsOf(c.header); got != c.want {
				t.Errorf("claimsOf = %q, want %q", got, c.want)
			}
		})
	}
}

func TestParseChallenges(t *testing.T) {
	show := func(all []challenge) string {
		var parts []string
		for _, c := range all {
			part := c.scheme + "(" + c.token68
			for _, name := range []string{"realm", "a", "b"} {
				if v, ok := c.params[name]; ok {
					part += fmt.Sprintf(" %s=%q", name, v)
				}
			}
			parts = append(parts, part+")")
		}
		return strings.Join(parts, " ")
	}
	for in, want := range map[string]string{
		"":                                   "",
		" , ,":                               "",
		"Negotiate":                          "negotiate()",
		"Negotiate, NTLM":                    "negotiate() ntlm()",
		"Negotiate abc=":                     "negotiate(abc=)",
		"Negotiate a/b+c==, Basic realm=x":   `negotiate(a/b+c==) basic( realm="x")`,
		`Basic realm="a\"b\\"`:               `basic( realm="a\"b\\")`,
		`Basic realm="",a=1 ,, b = "2"`:      `basic( realm="" a="1" b="2")`,
		`A a=1, B, C b=2`:                    `a( a="1") b() c( b="2")`,
		`Newauth realm="apps", a=1, b="x,y"`: `newauth( realm="apps" a="1" b="x,y")`,
	} {
		got, ok := parseChallenges(in)
		if !ok || show(got) != want {
			t.Errorf("%s: %s (%t), want %s", in, show(got), ok, want)
		}
	}
	for _, in := range []string{`"x"`, `Basic realm="x`, `Basic realm="x\`, `Basic realm="a" b=1`, "Basic a=1, a=2", "Basic realm=\"\x01\"", "Basic a=", "Basic a=1 x", "Basic =", "é", "Basic/ a=1", "Basic a=1;"} {
		if got, ok := parseChallenges(in); ok && (in != "Basic a=" || got[0].token68 != "a=") {
			t.Errorf("%q is read as %s", in, show(got))
		}
	}
}

func TestBearerOnly(t *testing.T) {
	for in, want := range map[string]string{
		`Bearer realm="a", Basic realm="x"`:            `Bearer realm="a"`,
		`Basic realm="x", Bearer realm="a", error="b"`: `Bearer realm="a", error="b"`,
		`Negotiate, NTLM`:                              "Bearer",
		`Bearer realm="`:                               "Bearer",
		`Bearer, PoP`:                                  "Bearer",
	} {
		if got := bearerOnly([]string{in}); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// FuzzChallenges: claims come out of a Bearer challenge that has them, and a
// challenge that is kept reads as the same one again.
func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="", error="insufficient_claims", claims="` + claims64 + `"`)
	f.Add(`Basic realm="a\"b", Negotiate abc==, Bearer x=1`)
	f.Add(`Bearer error="insufficient_claims", claims="{\"a\":1}", NTLM`)
	f.Fuzz(func(t *testing.T, line string) {
		if claims := claimsOf([]string{line}); claims != "" {
			if again, err := token.ParseClaims(claims); err != nil || again != claims || !strings.Contains(strings.ToLower(line), "bearer") {
				t.Errorf("%q gave %q", line, claims)
			}
		}
		kept := bearerOnly([]string{line})
		if again := bearerOnly(kept); !slices.Equal(kept, again) {
			t.Errorf("%q: kept %q, and then %q", line, kept, again)
		}
	})
}
