package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// walk is the whole story.
func walk(program, browser, pictures string) error {
	dir, err := os.MkdirTemp("", "broker-ui-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w := &world{program: program, dir: dir, pictures: pictures}
	defer w.close()
	if err := w.start(); err != nil {
		return err
	}
	if w.page, err = newChromium(browser, filepath.Join(dir, "profile")); err != nil {
		return err
	}
	w.cameIn()
	w.signedIn()
	w.looksAround()
	w.lostIt()
	w.strangers()
	w.hostileText()
	w.forgot()
	w.signedOut()
	w.ended()
	return w.err
}

// cameIn opens the page by the command's link, which is good once.
func (w *world) cameIn() {
	link := w.says("ui", "--print")
	w.try(func() error { return w.page.open(link) })
	w.shows("Sign-in required")
	w.picture("signed-out", 1000, false)
	w.try(func() error {
		at, err := w.page.eval("location.href")
		if err == nil && strings.Contains(at, "ticket") {
			err = fmt.Errorf("the address is still %q", at)
		}
		return err
	})
	w.clean("")
	w.try(func() error { return w.page.open("about:blank") })
	w.try(func() error { return w.page.open(link) })
	w.shows("This link was used already")
	w.clean("status of 401")
	w.picture("closed", 1000, false)
	w.enter()
}

func (w *world) enter() {
	w.try(func() error { return w.page.open("about:blank") })
	link := w.says("ui", "--print")
	w.try(func() error { return w.page.open(link) })
	w.shows("Accounts")
}

// signedIn signs alice in with a code, and lets two programs in.
func (w *world) signedIn() {
	w.press("Sign in")
	w.shows("Enter this code there")
	w.try(func() error { // the QR code is drawn
		_, err := w.page.eval(`new Promise((done, fail) => { const wait = (n) => { const i = document.querySelector(".qr"); if (i?.naturalWidth) done(); else if (n) setTimeout(() => wait(n - 1), 100); else fail(new Error("no QR code")); }; wait(100); })`)
		return err
	})
	w.picture("pending", 1000, false)
	w.picture("pending-dark-narrow", 390, true)
	w.reload()
	w.shows("Enter this code there") // a reload goes on with it
	code := ""
	w.try(func() (err error) { code, err = w.page.eval(`document.querySelector(".code").innerText`); return err })
	w.tell("/sandbox/approve", map[string]any{"user_code": code, "user": "alice@contoso.example"})
	w.shows("Signed in: ops")
	w.picture("signed-in", 1000, false)
	w.press("Close")
	w.clean("")
}

// looksAround lets programs in, and asks the doctor.
func (w *world) looksAround() {
	key := w.says("consumers", "add", "crm", "--account", "ops", "--resource", "graph", "--resource", "ews", "--note", "copies new orders")
	w.says("consumers", "add", "archiver", "--mapi", "archive")
	w.ask(key, http.MethodGet, "/v1/token?resource=graph", "")
	w.ask(key, http.MethodPost, "/proxy/ews/EWS/Exchange.asmx", `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>`+
		`<FindItem xmlns="http://schemas.microsoft.com/exchange/services/2006/messages"/></s:Body></s:Envelope>`)
	w.press("Check now")
	w.shows("Checking …")
	w.shows("To do:")
	w.picture("doctor", 1000, false)
	w.try(func() error { // what is wrong stands first
		got, err := w.page.eval(`[...document.querySelectorAll(".checks .badge")].map((b) => b.innerText).filter((t, i, all) => t !== all[i - 1]).join()`)
		if err == nil && !regexp.MustCompile(`^(Problem,)?(Warning,)?(OK)?(,?Skipped)?$`).MatchString(got) {
			err = fmt.Errorf("the checks stand in the order %s", got)
		}
		return err
	})
	w.enter()
	w.shows("copies new orders")
	w.shows("Outlook targets")
	w.picture("ok", 1000, false)
	w.picture("ok-dark", 1000, true)
	w.picture("ok-narrow", 390, false)
	w.clean("")
}

// ask asks the broker as a program does.
func (w *world) ask(key, method, path, body string) {
	at := ""
	w.try(func() (err error) { at, err = w.page.eval("location.origin"); return err })
	w.try(func() error {
		req, err := http.NewRequest(method, at+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "text/xml; charset=utf-8")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode >= http.StatusInternalServerError || res.StatusCode == http.StatusForbidden {
			return fmt.Errorf("%s: status %d", path, res.StatusCode)
		}
		return nil
	})
}

// lostIt ends alice's sign-in at the authority.
func (w *world) lostIt() {
	w.tell("/sandbox/revoke", map[string]any{"user": "alice@contoso.example"})
	_ = w.command("token", "--resource", "imap", "--account", "ops").Run()
	w.reload()
	w.shows("Sign-in required")
	w.picture("problem", 1000, false)
	w.picture("problem-dark-narrow", 390, true)
	w.clean("")
}

// strangers lets another website of the same browser try, on another port of the
// same address, which the cookie is sent to as well.
func (w *world) strangers() {
	at := ""
	w.try(func() (err error) { at, err = w.page.eval("location.origin"); return err })
	stolen := make(chan string, 99)
	evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		stolen <- r.Header.Get("Cookie")
		rw.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(rw, "<!doctype html><title>x</title><p>elsewhere")
	}))
	defer evil.Close()
	w.try(func() error { return w.page.open(evil.URL + "/ui/") })
	w.shows("elsewhere")
	for _, script := range []string{
		`fetch("%s/ui/api/status", {credentials: "include"})`,
		`fetch("%s/ui/api/status", {credentials: "include", mode: "no-cors"}).then((r) => { if (!r.ok) throw 0; })`,
		`fetch("%s/ui/session", {method: "POST", credentials: "include", body: "{}"})`,
		`new Promise((y, n) => { const s = document.createElement("script"); s.src = "%s/ui/dom.js"; s.onload = y; s.onerror = n; document.head.append(s); })`,
		`new Promise((y, n) => { const i = document.createElement("img"); i.src = "%s/ui/icon.svg"; i.onload = y; i.onerror = n; })`,
		`import("%s/ui/dom.js")`,
		`new Promise((y, n) => { const s = new WebSocket("%s/ui/".replace("http", "ws")); s.onopen = y; s.onerror = n; })`,
		`new Promise((y, n) => { const s = new EventSource("%s/ui/api/status", {withCredentials: true}); s.onopen = y; s.onerror = n; })`,
	} {
		w.try(func() error {
			got, err := w.page.eval(fmt.Sprintf(script, at) + `.then(() => "got in", () => "refused")`)
			if err == nil && got != "refused" {
				err = fmt.Errorf("another website %s: %s", got, script)
			}
			return err
		})
	}
	w.try(func() error {
		if _, err := w.page.eval(`new Promise((y) => { const f = document.createElement("iframe"); f.src = "` + at + `/ui/"; f.onload = y; document.body.append(f); })`); err != nil {
			return err
		}
		in, err := w.page.framed()
		if err == nil && !strings.HasPrefix(in, "chrome-error:") {
			err = fmt.Errorf("another website has %s in a frame", in)
		}
		return err
	})
	w.try(func() error { // its server gets half of the session, and its script sets a cookie of that name that is sent first
		name, value, _ := strings.Cut(<-stolen, "=")
		if !strings.HasPrefix(name, "broker-ui-") || value == "" {
			return fmt.Errorf("the cookie that other ports get is %q", name)
		}
		_, err := w.page.eval(`document.cookie = "` + name + `=x; path=/ui/api"`)
		return err
	})
	w.try(func() error { _, err := w.page.eval(`location.href = "` + at + `/ui/"`); return err })
	w.shows("The broker answers no web page but its own")
	w.try(func() error { return w.page.open("about:blank") }) // so that nothing of it, as its icon, is still on its way
	w.try(func() error { w.page.complaints(); return nil })   // all of the above
}

// hostileText is HTML where a name or a note should be.
func (w *world) hostileText() {
	const text = `<img src=x onerror="alert(1)"><b>bold</b><a href="javascript:alert(1)">link</a>`
	w.says("consumers", "add", "hostile", "--account", "ops", "--resource", "graph", "--note", text)
	w.enter()
	w.shows(text)
	w.finds(`main :is(img, b, a)`, 0)
	w.clean("")
}

// forgot ends the session while a question is open: nothing of what was true stays.
func (w *world) forgot() {
	w.press("Sign out")
	w.shows("Sign ops out?")
	w.try(func() error {
		_, err := w.page.eval(`fetch("/ui/session", {method: "DELETE", headers: {"X-Broker-CSRF": sessionStorage.getItem("csrf")}}).then((r) => {
			if (r.status !== 204) throw new Error("status " + r.status);
			document.dispatchEvent(new Event("visibilitychange"));
		})`)
		return err
	})
	w.isBare()
	w.enter() // and while it looks
	w.try(func() error {
		_, err := w.page.eval(`window.fetch = ((ask) => async (...args) => {
			const late = () => new Promise((done) => setTimeout(done, 500));
			if (args[0].endsWith("status")) await late(); // then it is refused
			const answer = await ask(...args);
			if (args[0].endsWith("consumers")) await late();
			return answer;
		})(window.fetch); document.dispatchEvent(new Event("visibilitychange"))`)
		return err
	})
	w.press("Leave")
	w.shows("You have left this page")
	w.try(func() error { _, err := w.page.eval(`new Promise((done) => setTimeout(done, 1000))`); return err })
	w.shows("You have left this page")
	w.isBare()
	w.clean("status of 401")
}

// isBare wants the page to be closed, and nothing on it.
func (w *world) isBare() {
	w.shows("This page is closed.")
	w.finds(`dialog[open], main *`, 0)
	w.try(func() error {
		got, err := w.page.eval(`document.body.textContent + JSON.stringify({...sessionStorage})`)
		if err == nil && regexp.MustCompile(`\bops\b|alice|csrf`).MatchString(got) {
			err = fmt.Errorf("the closed page still has %s", got)
		}
		return err
	})
}

// finds counts the elements that a selector matches.
func (w *world) finds(selector string, want int) {
	w.try(func() error {
		got, err := w.page.eval(fmt.Sprintf("document.querySelectorAll(%q).length", selector))
		if err == nil && got != fmt.Sprint(want) {
			err = fmt.Errorf("%s: %s of them, want %d", selector, got, want)
		}
		return err
	})
}

// signedOut signs alice in and out again, at the page.
func (w *world) signedOut() {
	w.enter()
	w.press("Sign out")
	w.shows("Sign ops out?")
	w.picture("sign-out", 1000, false)
	w.press("Cancel")
	w.press("Sign out")
	w.try(func() error { return w.page.press("Sign out") }) // of the dialog: what is behind it cannot be pressed
	w.try(func() error {
		_, err := w.page.eval(`document.querySelector("dialog [data-do=ask-yes]").click()`)
		return err
	})
	w.try(func() error {
		for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
			if gone, err := w.page.eval(`![...document.querySelectorAll("main button")].some((b) => b.innerText === "Sign out")`); err != nil || gone == "true" {
				return err
			}
			if time.Now().After(end) {
				return fmt.Errorf("ops is not signed out")
			}
		}
	})
	audit := w.says("audit", "tail", "-n", "50", "--output", "json")
	w.try(func() error {
		for _, want := range []string{`"event":"ui.entered","consumer":"ui"`, `"event":"signin.started","consumer":"ui"`, `"event":"signin.succeeded","consumer":"ui"`, `"event":"signout","consumer":"ui"`} {
			if !strings.Contains(audit, want) {
				return fmt.Errorf("the audit log has no %s:\n%s", want, audit)
			}
		}
		return nil
	})
	w.clean("")
}

// ended ends the broker.
func (w *world) ended() {
	w.try(func() error { return w.broker.Process.Signal(syscall.SIGTERM) })
	w.shows("The broker does not answer")
	w.picture("lost", 1000, false)
}
