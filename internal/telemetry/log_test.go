package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// canary is the text that must never come out anywhere.
const canary = "CANARY"

// secrets hold the canary in every shape a secret of ours can have.
var secrets = []string{
	"brk_" + canary + "0123456789abcdef",
	"bra_" + canary + "0123456789abcdef",
	"brg_" + canary + "0123456789abcdef",
	"eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9." + canary + "eyJhdWQiOiJodHRwczovL2dyYXBoIn0." + canary + "-sig_nature",
	"eyJhbGciOiJSU0EtT0FFUCJ9.." + canary + ".x.y",
	"0.AXEA" + canary + strings.Repeat("aB3-_", 40), // a refresh token of Entra
	canary + ".person+tag@contoso.com",
	canary + ".person%40contoso.com",
}

func TestLogIsRedacted(t *testing.T) {
	var out bytes.Buffer
	tel, err := Setup(t.Context(), Config{LogWriter: &out, Redact: []string{"a further " + canary}})
	if err != nil {
		t.Fatal(err)
	}
	log := tel.Logger()
	for _, s := range append(secrets, "a further "+canary) {
		log.Info("message with "+s+".", slog.String("text", "("+s+")"))
		log.With(slog.String("early", s)).WithGroup("g").Info("x", slog.Group("h", slog.Any("err", errors.New(s))),
			slog.Any("struct", struct{ In []string }{[]string{s}}), slog.Any("stringer", stringer(s)), slog.Any("valuer", valuer(s)))
	}
	for _, key := range []string{"access_token", "Authorization", "user_code", "claims", "password"} {
		log.Info("x", slog.String(key, canary), slog.Any(key, []byte(canary)))
	}
	if strings.Contains(out.String(), canary) {
		t.Errorf("the log shows a secret:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "account-"+tel.AccountHash(canary+".person+tag@contoso.com")) {
		t.Error("a mail address does not become the account's hash")
	}
}

func TestLogKeepsWhatIsHarmless(t *testing.T) {
	var out bytes.Buffer
	tel, err := Setup(t.Context(), Config{LogWriter: &out})
	if err != nil {
		t.Fatal(err)
	}
	harmless := []string{
		"request 3f2504e0-4f89-11d3-9a0c-0305e82c3301 for ops", strings.Repeat("ab", 32),
		"/usr/local/lib/m365-token-broker/very/long/path/" + strings.Repeat("dir/", 30) + "file.go:12",
		"https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/oauth2/v2.0/token", "broker_token_requests", "bra_ brk_",
	}
	for _, s := range harmless {
		tel.Logger().Info(s, slog.Int("n", 7), slog.Duration("d", time.Second), slog.String("account", "ops"), slog.Any("nil", nil))
		if !strings.Contains(out.String(), s) || !strings.Contains(out.String(), `"n":7`) || !strings.Contains(out.String(), `"account":"ops"`) {
			t.Errorf("%s became %s", s, out.String())
		}
		out.Reset()
	}
	tel.Logger().Info(strings.Repeat("long ", 10_000))
	if out.Len() > 2*maxText {
		t.Errorf("a line of %d bytes", out.Len())
	}
}

type stringer string

func (s stringer) String() string { return string(s) }

type valuer string

func (v valuer) LogValue() slog.Value { return slog.StringValue(string(v)) }

func TestLevelAndFormat(t *testing.T) {
	var out bytes.Buffer
	tel, err := Setup(t.Context(), Config{LogWriter: &out, LogLevel: "warn", LogFormat: "text"})
	if err != nil {
		t.Fatal(err)
	}
	log := tel.Logger().With(slog.String("part", "x"))
	log.Info("hidden")
	if err := tel.SetLevel("debug"); err != nil {
		t.Fatal(err)
	}
	log.Debug("shown")
	if err := tel.SetLevel("loud"); err == nil || !strings.Contains(err.Error(), "debug, info, warn or error") {
		t.Errorf("got %v", err)
	}
	if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "level=DEBUG msg=shown part=x") {
		t.Errorf("got %q", got)
	}
	if f, err := os.Open(os.DevNull); err == nil {
		defer func() { _ = f.Close() }()
		if got := autoFormat(f); got != "text" { // a character device, as a terminal is
			t.Errorf("format on a device: %s", got)
		}
	}
	if got := autoFormat(&out); got != "json" {
		t.Errorf("format on a pipe: %s", got)
	}
}
