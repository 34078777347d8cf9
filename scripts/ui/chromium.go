package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// chromium is a headless browser with one tab, spoken to by the DevTools protocol
// over two pipes, so that it needs no library and no port.
type chromium struct {
	cmd     *exec.Cmd
	to      *os.File
	session string

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	errors  []string // what the page's console and its policy complained of
}

type reply struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// newChromium starts the browser with a profile of its own in dir.
func newChromium(program, dir string) (*chromium, error) {
	in, to, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	from, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c := &chromium{to: to, waiting: map[int]chan reply{}}
	c.cmd = exec.Command(program, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run", "--disable-gpu",
		"--hide-scrollbars", "--lang=en-GB", "--user-data-dir="+dir)
	c.cmd.Env = append(os.Environ(), "HOME="+dir, "LANG=en_GB.UTF-8", "TZ=UTC")
	c.cmd.ExtraFiles = []*os.File{in, out} // 3 and 4 in the browser
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	_, _ = in.Close(), out.Close()
	go c.listen(from)
	var target struct{ TargetID string }
	if err := c.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var attached struct{ SessionID string }
	if err := c.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	c.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		if err := c.call(domain+".enable", nil, nil); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *chromium) close() {
	_ = c.to.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// listen hands replies to who waits for them, and notes complaints.
func (c *chromium) listen(from *os.File) {
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID     int
			Method string
			Params struct {
				Entry            struct{ Level, Source, Text, URL string }
				ExceptionDetails struct {
					Text      string
					Exception struct{ Description string }
				}
			}
			reply
		}
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		c.mu.Lock()
		switch p := m.Params; {
		case m.Method == "Runtime.exceptionThrown":
			c.errors = append(c.errors, p.ExceptionDetails.Text+" "+p.ExceptionDetails.Exception.Description)
		case m.Method == "Log.entryAdded" && p.Entry.Level == "error":
			c.errors = append(c.errors, p.Entry.Source+": "+p.Entry.Text+" "+p.Entry.URL)
		}
		if w := c.waiting[m.ID]; m.ID > 0 && w != nil {
			delete(c.waiting, m.ID)
			w <- m.reply
		}
		c.mu.Unlock()
	}
}

// complaints gives what was complained of since the last call.
func (c *chromium) complaints() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.Join(c.errors, "\n")
	c.errors = nil
	return all
}

func (c *chromium) call(method string, params, out any) error {
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.waiting[id] = answer
	c.mu.Unlock()
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if c.session != "" {
		message["sessionId"] = c.session
	}
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if _, err := c.to.Write(append(text, 0)); err != nil {
		return err
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			return fmt.Errorf("%s: %s", method, r.Error.Message)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(r.Result, out)
	case <-time.After(patience):
		return errors.New(method + ": the browser does not answer")
	}
}

// open goes to a page as a person does who types its address.
func (c *chromium) open(address string) error {
	return c.call("Page.navigate", map[string]any{"url": address}, nil)
}

// eval runs a script in the page and gives what it comes to, as text.
func (c *chromium) eval(script string) (string, error) {
	var out struct {
		Result           struct{ Value any }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := c.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true, "userGesture": true}, &out)
	if err == nil && out.ExceptionDetails != nil {
		err = errors.New(out.ExceptionDetails.Text + " " + out.ExceptionDetails.Exception.Description)
	}
	return fmt.Sprint(out.Result.Value), err
}

// framed is what the page's one frame shows.
func (c *chromium) framed() (string, error) {
	var out struct {
		FrameTree struct {
			ChildFrames []struct{ Frame struct{ URL string } }
		}
	}
	if err := c.call("Page.getFrameTree", nil, &out); err != nil {
		return "", err
	}
	if n := len(out.FrameTree.ChildFrames); n != 1 {
		return "", fmt.Errorf("%d frames", n)
	}
	return out.FrameTree.ChildFrames[0].Frame.URL, nil
}

// shows waits until the page has this text.
func (c *chromium) shows(text string) error {
	quoted, _ := json.Marshal(text)
	var body string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		found, err := c.eval("document.body && document.body.innerText.includes(" + string(quoted) + ")")
		if err == nil && found == "true" {
			return nil
		}
	}
	body, _ = c.eval("document.body.innerText")
	return fmt.Errorf("the page does not show %q; it shows:\n%s\n%s", text, body, c.complaints())
}

// press clicks the first button, or link, with this text that can be clicked.
func (c *chromium) press(text string) error {
	quoted, _ := json.Marshal(text)
	done, err := c.eval(`(() => { const b = [...document.querySelectorAll("button, a, summary")].find((b) => b.innerText.trim() === ` + string(quoted) +
		` && !b.disabled && b.offsetParent !== null); b?.click(); return Boolean(b); })()`)
	if err == nil && done != "true" {
		err = fmt.Errorf("there is no button %q", text)
	}
	return err
}

// look sets the size of the window, and whether the system is dark.
func (c *chromium) look(width int, dark bool) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	if err := c.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil); err != nil {
		return err
	}
	return c.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 700, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// shoot writes a picture of the whole page.
func (c *chromium) shoot(file string) error {
	time.Sleep(300 * time.Millisecond) // what moves comes to rest
	var out struct{ Data string }
	if err := c.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &out); err != nil {
		return err
	}
	picture, err := base64.StdEncoding.DecodeString(out.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(file, picture, 0o644)
}
