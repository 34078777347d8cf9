package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// world is a built broker, the sandbox, and a person with a browser.
type world struct {
	program, dir, pictures string
	started                []*exec.Cmd
	broker                 *exec.Cmd
	page                   *chromium
	authority, control     string
	sandbox                *http.Client
	err                    error // the first one; what comes after it does nothing
}

func (w *world) close() {
	if w.page != nil {
		w.page.close()
	}
	for _, c := range w.started {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	}
}

// start starts the sandbox and the broker.
func (w *world) start() error {
	box := filepath.Join(w.dir, "box")
	if err := w.run("sandbox", "--write", box); err != nil {
		return err
	}
	if err := w.appears(filepath.Join(box, "control.key"), filepath.Join(box, "ca.pem"), filepath.Join(box, "broker.yaml")); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(box, "broker.yaml"))
	if err != nil {
		return err
	}
	w.authority = regexp.MustCompile(`(?m)^authority: *(\S+)`).FindStringSubmatch(string(config))[1]
	key, _ := os.ReadFile(filepath.Join(box, "control.key"))
	pem, _ := os.ReadFile(filepath.Join(box, "ca.pem"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	w.control = strings.TrimSpace(string(key))
	w.sandbox = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	more := "listen: 127.0.0.1:0\nstore: file\naccounts:\n  ops: {username: alice@contoso.example}\n" +
		"mapi:\n  archive: {profile: Archive, account: 'CONTOSO\\svc-archive'}\n"
	if err := os.WriteFile(filepath.Join(box, "broker.yaml"), append(config, more...), 0o600); err != nil {
		return err
	}
	desktop := filepath.Join(w.dir, "desktop.json")
	if err := os.WriteFile(desktop, []byte(`{"host":"MAIL01","account":"CONTOSO\\svc-archive","profiles":["Archive"]}`), 0o600); err != nil {
		return err
	}
	ready := filepath.Join(w.dir, "ready")
	if err := w.run("serve", "--ready-file", ready, "--scripted-desktop", desktop); err != nil {
		return err
	}
	w.broker = w.started[1]
	return w.appears(ready)
}

// run starts a command of the broker that goes on.
func (w *world) run(args ...string) error {
	c := w.command(args...)
	c.Stderr = &lines{prefix: args[0]}
	w.started = append(w.started, c)
	return c.Start()
}

func (w *world) command(args ...string) *exec.Cmd {
	c := exec.Command(w.program, args...)
	c.Env = append(os.Environ(), "BROKER_CONFIG="+filepath.Join(w.dir, "box", "broker.yaml"), "BROKER_STATE_DIR="+filepath.Join(w.dir, "state"))
	return c
}

// lines shows what a broker logs of errors.
type lines struct{ prefix string }

func (l *lines) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if bytes.Contains(line, []byte("ERROR")) || bytes.Contains(line, []byte(`"level":"ERROR"`)) {
			fmt.Fprintf(os.Stderr, "%s: %s", l.prefix, line)
		}
	}
	return len(p), nil
}

func (w *world) appears(files ...string) error {
	for _, f := range files {
		end := time.Now().Add(patience)
		for {
			if info, err := os.Stat(f); err == nil && info.Size() > 0 {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("%s does not appear", f)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// try does something unless something failed before.
func (w *world) try(do func() error) {
	if w.err == nil {
		w.err = do()
	}
}

func (w *world) shows(text string) { w.try(func() error { return w.page.shows(text) }) }
func (w *world) press(text string) { w.try(func() error { return w.page.press(text) }) }

// picture shoots the page, where pictures are wanted.
func (w *world) picture(name string, width int, dark bool) {
	w.try(func() error {
		if err := w.page.look(width, dark); err != nil || w.pictures == "" {
			return err
		}
		return w.page.shoot(filepath.Join(w.pictures, name+".png"))
	})
}

// clean wants the browser to have no complaint but these.
func (w *world) clean(but string) {
	w.try(func() error {
		for line := range strings.Lines(w.page.complaints()) {
			if but == "" || !strings.Contains(line, but) {
				return fmt.Errorf("the browser complains: %s", line)
			}
		}
		return nil
	})
}

// reload loads the page again, and waits until the old one is gone.
func (w *world) reload() {
	w.try(func() error {
		if _, err := w.page.eval("window.old = true; location.reload()"); err != nil {
			return err
		}
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if old, err := w.page.eval(`String(window.old) + document.readyState`); err == nil && old == "undefinedcomplete" {
				return nil
			}
		}
		return errors.New("the page is not loaded again")
	})
}

// says runs a command of the broker and gives what it prints.
func (w *world) says(args ...string) (out string) {
	w.try(func() error {
		var failed bytes.Buffer
		c := w.command(args...)
		c.Stderr = &failed
		text, err := c.Output()
		out = strings.TrimSpace(string(text))
		if err != nil {
			return fmt.Errorf("broker %s: %w %s", args[0], err, failed.Bytes())
		}
		return nil
	})
	return out
}

// tell calls the sandbox's control API.
func (w *world) tell(path string, in map[string]any) {
	w.try(func() error {
		body, err := json.Marshal(in)
		if err != nil {
			return err
		}
		req, err := http.NewRequest(http.MethodPost, w.authority+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("X-Sandbox-Key", w.control)
		res, err := w.sandbox.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode >= 300 {
			text, _ := io.ReadAll(res.Body)
			return fmt.Errorf("%s: %d %s", path, res.StatusCode, text)
		}
		return nil
	})
}
