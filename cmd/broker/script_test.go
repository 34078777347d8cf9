package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this very binary as "broker", and as
// "consumer": a program that a consumer would be.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"broker": cheapMain, "consumer": consumerMain})
}

// cheapMain is main, with exports that cost less: scrypt as it should be takes half
// a minute under the race detector.
func cheapMain() {
	e := thisProcess()
	e.workFactor = cheapWork
	os.Exit(run(context.Background(), os.Args[1:], e))
}

// cheapWork is the work factor of the tests' exports.
const cheapWork = 4

// TestScripts runs testdata/script/*.txtar, each with a home, a state directory
// and a sandbox of its own. Beside testscript's commands there are:
//
//	code N command [args…]    the command must end with exit code N
//	waitfile file…            waits until the files are there
//	waitgone file…            waits until they are gone
//	until REGEXP command…     runs the command until its output has it
//	pending                   waits for a sign-in that nobody has approved yet
//	approve [user]            approves the one pending sign-in (alice)
//	decline                   declines it
//	fault scenario [count]    lets the sandbox fail; see broker sandbox scenarios
//	revoke user               ends the user's grants at the sandbox
//	setenv NAME file          puts a file's text into the environment
//	listenon NAME             takes a port and puts its address into NAME
//	tamper file N [text]      replaces line N of a file, or removes it; -1 is the last
//	program file [text]       makes a program like "consumer", with text behind its end
//
// ME is the account that the script runs as, as the system says it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": scriptCode, "waitfile": scriptWait(true), "waitgone": scriptWait(false), "until": scriptUntil,
			"pending": func(ts *testscript.TestScript, _ bool, _ []string) { pendingCode(ts) },
			"approve": scriptApprove, "decline": scriptDecline, "fault": scriptFault, "revoke": scriptRevoke,
			"setenv": scriptSetenv, "listenon": scriptListen, "program": scriptProgram, "tamper": scriptTamper,
		},
	})
}

func setupScript(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", home)
	env.Setenv("USERPROFILE", home)
	env.Setenv("AppData", filepath.Join(home, "roaming"))
	env.Setenv("LocalAppData", filepath.Join(home, "local"))
	env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	env.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
	env.Setenv("BROKER_CONFIG", filepath.Join(env.WorkDir, "box", "broker.yaml"))
	env.Setenv("BROKER_STATE_DIR", filepath.Join(env.WorkDir, "state"))
	env.Setenv("BROKER_STORE", "file")
	env.Setenv("BROKER_LISTEN", "127.0.0.1:0")
	me, err := user.Current()
	if err != nil {
		return err
	}
	env.Setenv("ME", me.Uid)
	return os.MkdirAll(home, 0o700)
}

// scriptPatience bounds every wait of a script.
const scriptPatience = 20 * time.Second

// eventually asks until the answer is yes.
func eventually(ts *testscript.TestScript, what string, ask func() bool) {
	for end := time.Now().Add(scriptPatience); !ask(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s: not within %v", what, scriptPatience)
		}
	}
}

func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		got = ended.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptWait(there bool) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		for _, name := range args {
			eventually(ts, "wait for "+name, func() bool {
				info, err := os.Stat(ts.MkAbs(name))
				return there == (err == nil && (info.IsDir() || info.Size() > 0))
			})
		}
	}
}

func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP command [args...]")
	}
	want, err := regexp.Compile(args[0])
	ts.Check(err)
	eventually(ts, "wait for "+args[0], func() bool {
		ts.Check(ts.Exec(args[1], args[2:]...))
		return want.MatchString(ts.ReadFile("stdout"))
	})
}

// control calls the sandbox's control API.
func control(ts *testscript.TestScript, method, path string, in, out any) error {
	box := func(name string) string { return strings.TrimSpace(ts.ReadFile(filepath.Join("box", name))) }
	base := ""
	for line := range strings.Lines(box("broker.yaml")) {
		if v, ok := strings.CutPrefix(line, "authority: "); ok {
			base = strings.TrimSpace(v)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(box("ca.pem")))
	client := &http.Client{
		Timeout:   scriptPatience,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-Sandbox-Key", box("control.key"))
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// pendingCode waits for the one code that no command of the script has met yet.
func pendingCode(ts *testscript.TestScript) string {
	var fresh []string
	eventually(ts, "wait for a code", func() bool {
		var codes []string
		ts.Check(control(ts, http.MethodGet, "/sandbox/codes", nil, &codes))
		fresh = slices.DeleteFunc(codes, func(c string) bool { return strings.Contains(ts.Getenv("MET_CODES"), c) })
		return len(fresh) == 1
	})
	ts.Setenv("MET_CODES", ts.Getenv("MET_CODES")+" "+fresh[0])
	return fresh[0]
}

func scriptApprove(ts *testscript.TestScript, _ bool, args []string) {
	user := "alice@contoso.example"
	if len(args) > 0 {
		user = args[0]
	}
	ts.Check(control(ts, http.MethodPost, "/sandbox/approve", map[string]string{"user_code": pendingCode(ts), "user": user}, nil))
}

func scriptDecline(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(control(ts, http.MethodPost, "/sandbox/decline", map[string]string{"user_code": pendingCode(ts)}, nil))
}

func scriptFault(ts *testscript.TestScript, _ bool, args []string) {
	in := map[string]any{"scenario": args[0]}
	if len(args) > 1 {
		count, err := strconv.Atoi(args[1])
		ts.Check(err)
		in["count"] = count
	}
	ts.Check(control(ts, http.MethodPost, "/sandbox/faults", in, nil))
}

func scriptRevoke(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(control(ts, http.MethodPost, "/sandbox/revoke", map[string]string{"user": args[0]}, nil))
}

func scriptSetenv(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

func scriptListen(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

// scriptProgram copies this very binary: to the system that is another program.
func scriptProgram(ts *testscript.TestScript, _ bool, args []string) {
	self, err := os.Executable()
	ts.Check(err)
	text, err := os.ReadFile(self)
	ts.Check(err)
	name := ts.MkAbs(args[0]) + ts.Getenv("exe")
	ts.Check(os.MkdirAll(filepath.Dir(name), 0o700))
	ts.Check(os.WriteFile(name, append(text, strings.Join(args[1:], " ")...), 0o700))
}

// consumerMain is a program that a consumer would be: it finds the broker in its
// environment, asks for a token of the resource in its first argument, says
// what came back, and ends with the code in its second. With "wait" it runs
// until a signal; with "env" it prints its environment, the key as "KEY"; with
// "ask" it asks once for each line that it reads; with "dialects" it asks as the
// SDKs do, by their variables.
func consumerMain() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "dialects":
		askAsSDKs(os.Getenv)
		return
	case len(os.Args) > 1 && os.Args[1] == "env":
		fmt.Println(strings.ReplaceAll(strings.Join(os.Environ(), "\n"), os.Getenv("BROKER_KEY"), "KEY"))
		return
	case len(os.Args) > 1 && os.Args[1] == "ask":
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if err := askForToken("graph"); err != nil {
				fmt.Println("none")
			}
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "wait" {
		caught := make(chan os.Signal, 1)
		signal.Notify(caught, os.Interrupt, syscall.SIGTERM)
		_ = os.WriteFile(os.Args[2], []byte("running\n"), 0o600)
		<-caught
		fmt.Println("told to end")
		os.Exit(9)
	}
	if err := askForToken(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) > 2 {
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	}
}

// askAsSDKs asks once in each dialect, and says the status of each answer.
func askAsSDKs(getenv func(string) string) {
	const graph = "https://graph.microsoft.com"
	for _, ask := range []struct{ name, method, url, header, value, body string }{
		{"msi", http.MethodGet, getenv("IDENTITY_ENDPOINT") + "?api-version=2019-08-01&resource=" + graph, "X-IDENTITY-HEADER", getenv("IDENTITY_HEADER"), ""},
		{"azd", http.MethodPost, getenv("AZD_AUTH_ENDPOINT") + "/token?api-version=2023-07-12-preview", "Authorization", "Bearer " + getenv("AZD_AUTH_KEY"), `{"scopes":["` + graph + `/.default"]}`},
		{"sidecar", http.MethodGet, getenv("SIDECAR_URL") + "/AuthorizationHeaderUnauthenticated/graph", "Accept", "application/json", ""},
	} {
		req, err := http.NewRequest(ask.method, ask.url, strings.NewReader(ask.body))
		if err != nil {
			fmt.Println(err)
			continue
		}
		req.Header.Set(ask.header, ask.value)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Printf("%s: status %d, a token: %v\n", ask.name, res.StatusCode, bytes.Contains(body, []byte("eyJ")))
	}
}

// askForToken asks the broker of the environment and says what came back.
func askForToken(resource string) error {
	req, err := http.NewRequest(http.MethodGet, os.Getenv("BROKER_URL")+"/v1/token?resource="+resource, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+os.Getenv("BROKER_KEY"))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct{ Account, Resource, Code string }
	_ = json.NewDecoder(res.Body).Decode(&answer)
	fmt.Printf("status=%d account=%s resource=%s code=%s keys=%d\n",
		res.StatusCode, answer.Account, answer.Resource, answer.Code, strings.Count(strings.Join(os.Environ(), "\n"), "BROKER_KEY="))
	return nil
}
