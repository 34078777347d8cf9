package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// exitSignIn is the exit code of a command that needs a sign-in.
const exitSignIn = 3

// journey is the story, with what it has seen so far.
type journey struct {
	broker    *broker
	authority *authority
	tokens    []string // every access token, oldest first
}

func (j *journey) run(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"start", j.broker.serve},
		{"a token before the sign-in is refused", j.refused},
		{"the store is the one that was asked for", j.store},
		{"sign in by device code", j.signInBy("device")},
		{"a token", j.newToken},
		{"the same token again, from the cache", j.sameToken},
		{"rotate", j.rotate},
		{"rotate again", j.rotate},
		{"the sign-in is in the store", j.persisted},
		{"kill, start", j.restartKilled},
		{"a token without a sign-in", j.newToken},
		{"rotate, stop, start", j.restartStopped},
		{"a token without a sign-in", j.newToken},
		{"one sign-in in all", j.oneSignIn},
		{"no token in the state directory", j.noTokenOnDisk},
		{"sign out", j.signOut},
		{"a token after the sign-out is refused", j.refused},
		{"start again, still refused", j.restartRefused},
		{"sign in by browser", j.signInBy("browser")},
		{"a token", j.newToken},
		{"rotate, stop, start", j.restartStopped},
		{"a token without a sign-in", j.newToken},
		{"sign out", j.signOut},
		{"stop", func(context.Context) error { return j.broker.stop() }},
	} {
		started := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("journey: %-40s %6.2f s\n", step.name, time.Since(started).Seconds())
	}
	return nil
}

// store reads which store is in use, so that no other stands in for it.
func (j *journey) store(ctx context.Context) error {
	answer, err := j.broker.call(ctx, http.MethodGet, "/v1/status", nil)
	if err != nil {
		return err
	}
	if s, _ := answer["store"].(map[string]any); s["kind"] != j.broker.store || s["usable"] != true {
		return fmt.Errorf("the broker uses %v, not %s", s, j.broker.store)
	}
	return nil
}

func (j *journey) signInBy(flow string) func(context.Context) error {
	return func(ctx context.Context) error { return j.signIn(ctx, flow) }
}

// signIn runs `login` and does the person's part when its page is shown.
func (j *journey) signIn(ctx context.Context, flow string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := j.broker.command(ctx, "login", "--account", "ops", "--flow", flow, "--output", "json")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	state := ""
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		var line struct {
			State           string
			UserCode        string `json:"user_code"`
			VerificationURI string `json:"verification_uri"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("login printed %q: %w", lines.Text(), err)
		}
		if line.State == "pending" && state == "" {
			if err := j.authority.approve(ctx, line.VerificationURI, line.UserCode); err != nil {
				return err
			}
		}
		state = line.State
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("login: %w\n%s", err, &stderr)
	}
	if state != "succeeded" {
		return fmt.Errorf("login ended with state %q", state)
	}
	return nil
}

func (j *journey) token(ctx context.Context) (string, error) {
	out, err := j.broker.must(ctx, "token", "--resource", "graph", "--account", "ops")
	if err == nil && strings.Count(out, ".") != 2 {
		err = errors.New("token did not print a JWT")
	}
	return out, err
}

// newToken wants a token that was not seen before: the broker keeps none on
// disk, so after a start it redeems its refresh token.
func (j *journey) newToken(ctx context.Context) error {
	t, err := j.token(ctx)
	if err != nil {
		return err
	}
	return j.fresh(t)
}

func (j *journey) fresh(t string) error {
	if slices.Contains(j.tokens, t) {
		return errors.New("got an old token")
	}
	j.tokens = append(j.tokens, t)
	return nil
}

func (j *journey) sameToken(ctx context.Context) error {
	t, err := j.token(ctx)
	if err == nil && t != j.tokens[len(j.tokens)-1] {
		err = errors.New("got another token")
	}
	return err
}

// rotate makes the broker redeem its refresh token although it has a token.
func (j *journey) rotate(ctx context.Context) error {
	answer, err := j.broker.call(ctx, http.MethodPost, "/v1/token",
		map[string]any{"resource": "graph", "account": "ops", "force_refresh": true})
	if err != nil {
		return err
	}
	if answer["source"] != "refresh" {
		return fmt.Errorf("the token came from %v", answer["source"])
	}
	t, _ := answer["access_token"].(string)
	return j.fresh(t)
}

// persisted waits until the current refresh token is in the store; plain
// rotations may take up to 30 s.
func (j *journey) persisted(ctx context.Context) error {
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		answer, err := j.broker.call(ctx, http.MethodGet, "/v1/accounts/ops", nil)
		if err != nil {
			return err
		}
		if answer["persisted"] == true {
			return nil
		}
	}
	return errors.New("the refresh token is not in the store after 40 s")
}

func (j *journey) restartKilled(ctx context.Context) error {
	j.broker.kill()
	return j.broker.serve(ctx)
}

// restartStopped stops in good order straight after a rotation: the end of the
// broker must write what a kill would have lost.
func (j *journey) restartStopped(ctx context.Context) error {
	if err := j.rotate(ctx); err != nil {
		return err
	}
	if err := j.broker.stop(); err != nil {
		return err
	}
	return j.broker.serve(ctx)
}

func (j *journey) restartRefused(ctx context.Context) error {
	if err := j.broker.stop(); err != nil {
		return err
	}
	if err := j.broker.serve(ctx); err != nil {
		return err
	}
	return j.refused(ctx)
}

func (j *journey) oneSignIn(context.Context) error {
	if j.authority.signIns == nil {
		return nil
	}
	if n := j.authority.signIns(); n != 1 {
		return fmt.Errorf("the authority saw %d sign-ins", n)
	}
	return nil
}

func (j *journey) noTokenOnDisk(context.Context) error {
	return filepath.WalkDir(j.broker.state, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, t := range j.tokens {
			if bytes.Contains(text, []byte(t)) {
				return fmt.Errorf("%s holds an access token", name)
			}
		}
		return nil
	})
}

func (j *journey) signOut(ctx context.Context) error {
	_, err := j.broker.must(ctx, "logout", "--account", "ops")
	return err
}

// refused wants the exit code that tells a script to ask for a sign-in.
func (j *journey) refused(ctx context.Context) error {
	out, code, err := j.broker.run(ctx, "token", "--resource", "graph", "--account", "ops")
	if err == nil && code != exitSignIn {
		err = fmt.Errorf("token ended with %d, want %d:\n%s", code, exitSignIn, out)
	}
	return err
}
