package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// The rules of the sign-in's three forms: a terminal gets everything that helps
// a person, and its last line is rewritten in place; anything else gets plain
// lines; JSON mode gets the contract's objects and nothing else. No form uses
// escape codes, so that every terminal shows the same.

// prompt shows a sign-in.
type prompt interface {
	shown
	// pending shows what to do; it is called again whenever the sign-in changes.
	pending(s httpapi.SignIn)
	// tick is called every second.
	tick(now time.Time, s httpapi.SignIn)
	// done clears what tick left.
	done()
}

// shown is what stands before and after.
type shown interface {
	// already says that this account is signed in; "" where it is not.
	already(account string)
	// replaced says that a pending sign-in with this flow was cancelled for this
	// one.
	replaced(old httpapi.Flow)
	succeeded(s httpapi.SignIn)
}

// prompt chooses the form.
func (l *login) prompt() prompt {
	out := l.o.env.stdout
	if l.output == outputJSON {
		return &jsonPrompt{out: out}
	}
	p := plainPrompt{out: out}
	if !l.withoutOwnBrowser {
		p.open = func(link string) bool { return openBrowser(link, l.o.env.getenv) == nil }
	}
	if s := screenOf(out, l.o.env.getenv); s.any() {
		return &screenPrompt{plainPrompt: p, screen: s, qr: !l.withoutQRCode}
	}
	return &p
}

// jsonPrompt writes one object per line.
type jsonPrompt struct {
	out  io.Writer
	told bool
}

func (p *jsonPrompt) already(string)                 {}
func (p *jsonPrompt) replaced(httpapi.Flow)          {}
func (p *jsonPrompt) tick(time.Time, httpapi.SignIn) {}
func (p *jsonPrompt) done()                          {}

func (p *jsonPrompt) pending(s httpapi.SignIn) {
	if p.told || s.VerificationURI == "" {
		return
	}
	p.told = true
	_ = printLine(p.out, struct {
		State           httpapi.SignInState `json:"state"`
		ID              string              `json:"id"`
		UserCode        string              `json:"user_code,omitempty"`
		VerificationURI string              `json:"verification_uri"`
		ExpiresOn       int64               `json:"expires_on"`
	}{s.State, s.ID, s.UserCode, s.VerificationURI, s.ExpiresOn})
}

func (p *jsonPrompt) succeeded(s httpapi.SignIn) {
	_ = printLine(p.out, struct {
		State   httpapi.SignInState `json:"state"`
		Account string              `json:"account"`
	}{s.State, s.Account})
}

// printLine writes v as JSON on one line.
func printLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// plainPrompt writes plain lines.
type plainPrompt struct {
	out     io.Writer
	open    func(link string) bool // opens the browser; nil: do not
	told    bool
	trouble string // what stands in the way at the moment, as told last
}

func (p *plainPrompt) tick(time.Time, httpapi.SignIn) {}
func (p *plainPrompt) done()                          {}

func (p *plainPrompt) say(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

func (p *plainPrompt) already(account string) {
	if account != "" {
		p.say("%s is signed in already; this sign-in takes the place of the old one.", printable(account))
	}
}

func (p *plainPrompt) replaced(old httpapi.Flow) {
	way := "with a device code"
	if old == httpapi.FlowBrowser {
		way = "in a browser"
	}
	p.say("A sign-in %s was pending; it is cancelled, and this one takes its place.", way)
}

func (p *plainPrompt) pending(s httpapi.SignIn) {
	if trouble := printable(s.Problem.Detail); trouble != p.trouble {
		p.trouble = trouble
		if trouble != "" {
			p.say("%s The sign-in goes on.", trouble)
		}
	}
	if p.told || s.VerificationURI == "" {
		return
	}
	p.told = true
	link := printable(s.VerificationURI)
	if s.UserCode == "" {
		p.browser(link)
	} else {
		p.say("Open %s on any device and enter the code %s", link, printable(s.UserCode))
	}
	if s.ExpiresOn > 0 {
		p.say("This can be done until %s.", epoch(s.ExpiresOn).Format(time.TimeOnly))
	}
}

// browser opens the link, or asks the person to.
func (p *plainPrompt) browser(link string) {
	if p.open != nil && p.open(link) {
		p.say("Your browser opens the sign-in page. If it does not, open this link on this machine:")
	} else {
		p.say("Open this link in a browser on this machine:")
	}
	p.say("  %s", link)
}

func (p *plainPrompt) succeeded(s httpapi.SignIn) {
	p.say("Signed in: %s", printable(s.Account))
}

// screenPrompt is for a person at a terminal.
type screenPrompt struct {
	plainPrompt
	screen screen
	qr     bool
	drawn  int // columns that the countdown takes
}

func (p *screenPrompt) pending(s httpapi.SignIn) {
	if p.told || s.VerificationURI == "" || s.UserCode == "" {
		p.done()
		p.plainPrompt.pending(s)
		return
	}
	p.told = true
	link := printable(s.VerificationURI)
	p.say("")
	p.say("  1. Open this page, on this machine or any other device:")
	p.say("")
	p.say("       %s", link)
	p.say("")
	if p.qr {
		if art := qrCode(link, p.screen); art != "" {
			p.say("%s", indent(art, "       "))
			p.say("")
		}
	}
	p.say("  2. Enter this code there:")
	p.say("")
	p.say("%s", indent(bigCode(printable(s.UserCode), p.screen), "       "))
	p.say("")
	p.say("  3. Sign in and confirm. The broker then stores the sign-in and serves tokens;")
	p.say("     nobody has to do this again until the sign-in is revoked, or has not been")
	p.say("     used for 90 days.")
	p.say("")
	p.say(`  Does the page say "You don't have access to this", or name error 53003? Then`)
	p.say("  your organisation blocks device codes (Conditional Access). Press Ctrl-C and")
	p.say("  use a browser on this machine:  broker login --flow browser")
	p.say("")
}

// tick rewrites the last line in place.
func (p *screenPrompt) tick(now time.Time, s httpapi.SignIn) {
	line := "  Waiting for you"
	if p.told && s.ExpiresOn > 0 {
		left := max(0, epoch(s.ExpiresOn).Sub(now)).Truncate(time.Second)
		line += fmt.Sprintf(", %d:%02d left", int(left.Minutes()), int(left.Seconds())%60)
	}
	line += ". Ctrl-C cancels."
	if p.trouble != "" {
		line += " (the connection to Microsoft is disturbed)"
	}
	if r := []rune(line); len(r) >= p.screen.width {
		line = string(r[:p.screen.width-1])
	}
	fmt.Fprintf(p.out, "\r%-*s", p.drawn, line)
	p.drawn = len([]rune(line))
}

func (p *screenPrompt) done() {
	if p.drawn > 0 {
		fmt.Fprintf(p.out, "\r%*s\r", p.drawn, "")
		p.drawn = 0
	}
}

func (p *screenPrompt) succeeded(s httpapi.SignIn) {
	p.plainPrompt.succeeded(s)
	p.say("")
	p.say("Next: broker token --resource graph      prints an access token")
	p.say("      broker serve                       runs the broker")
	p.say("      broker consumers add --help        lets a program in")
}

// indent puts prefix before every line.
func indent(text, prefix string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(prefix+line, " ")
	}
	return strings.Join(lines, "\n")
}
