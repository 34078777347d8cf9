package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// suite runs everything and counts.
type suite struct {
	world    *world
	recipes  map[string]block
	versions map[string]string
	only     string

	vars   []string // of the page's variables
	passed int
	failed []string
}

// run does all of it. Its error is that of the surroundings; what a client did
// wrong is in the verdict.
func (s *suite) run(ctx context.Context) (err error) {
	if s.versions, err = s.world.versions(ctx); err != nil {
		return err
	}
	if s.vars, err = s.letIn(ctx); err != nil {
		return fmt.Errorf("run=%s: %w", variables, err)
	}
	for _, c := range clients() {
		if s.only == "" || s.only == c.recipe {
			if err := s.client(ctx, c); err != nil {
				return fmt.Errorf("run=%s: %w", c.recipe, err)
			}
		}
	}
	for _, m := range mailTools() {
		if s.only == "" || s.only == m.recipe {
			s.check(m.product, m.recipe, "as a person", func() error { return s.mail(ctx, m) })
		}
	}
	if s.only == "" {
		return s.refusals(ctx)
	}
	return nil
}

// check runs one thing and prints its line.
func (s *suite) check(product, what, way string, do func() error) {
	started := time.Now()
	err := do()
	result := "ok    "
	if err != nil {
		result = "FAILED"
	}
	label := strings.TrimSpace(product + " " + s.versions[product])
	fmt.Printf("%s %6.1f s  %-58s %-42s %s\n", result, time.Since(started).Seconds(), label, what, way)
	if err == nil {
		s.passed++
		return
	}
	fmt.Println("       " + strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "\n       "))
	s.failed = append(s.failed, fmt.Sprintf("%s: %s, %s", product, what, way))
}

// verdict is the closing line.
func (s *suite) verdict() error {
	fmt.Printf("%d passed, %d failed\n", s.passed, len(s.failed))
	if len(s.failed) > 0 {
		return errors.New("failed: " + strings.Join(s.failed, "; "))
	}
	if s.passed == 0 {
		return errors.New("nothing ran")
	}
	return nil
}

// localized is a recipe with the addresses of this machine.
func (s *suite) localized(name string) (block, string, error) {
	b, ok := s.recipes[name]
	if !ok {
		return b, "", fmt.Errorf("docs/consumers.md has no block run=%s", name)
	}
	return b, strings.NewReplacer(
		"https://graph.microsoft.com/v1.0", s.world.sandbox.GraphURL()+"/v1.0",
		"http://127.0.0.1:8477", s.world.url,
		"smtp.office365.com", "localhost",
		"outlook.office365.com", "localhost",
		"587", s.world.mail.smtpPort,
		"993", s.world.mail.imapPort,
		"/etc/ssl/certs/ca-certificates.crt", s.world.ca,
	).Replace(b.text), nil
}

// letIn runs the block of variables and reads what it has set.
func (s *suite) letIn(ctx context.Context) ([]string, error) {
	b, text, err := s.localized(variables)
	if err != nil {
		return nil, err
	}
	argv, err := s.world.place(ctx, b, text+"env -0\n")
	if err != nil {
		return nil, err
	}
	before := s.world.environ()
	out, err := s.world.must(ctx, before, argv...)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, pair := range before {
		known[pair] = true
	}
	var vars []string
	for pair := range strings.SplitSeq(out, "\x00") {
		if name, _, _ := strings.Cut(pair, "="); pair != "" && !known[pair] && name != "_" && name != "SHLVL" && name != "PWD" {
			vars = append(vars, pair)
		}
	}
	return vars, nil
}

// client runs a recipe in all its variants, with the variables and under exec.
func (s *suite) client(ctx context.Context, c client) error {
	b, text, err := s.localized(c.recipe)
	if err != nil {
		return err
	}
	if text, err = swap(text, c.swaps...); err != nil {
		return err
	}
	text = strings.ReplaceAll(text, "GRAPH", s.world.sandbox.GraphURL())
	variants := c.variants
	if variants == nil {
		variants = []variant{{}}
	}
	for _, v := range variants {
		changed := text
		if v.old != "" {
			if changed, err = swap(text, v.old, v.text); err != nil {
				return err
			}
		}
		argv, err := s.world.place(ctx, b, changed)
		if err != nil {
			return err
		}
		what := strings.TrimSuffix(c.recipe+": "+v.name, ": ")
		s.check(c.product, what, "broker exec", func() error { return s.underExec(ctx, c, argv) })
		s.check(c.product, what, "variables", func() error { return s.byHand(ctx, c, argv) })
	}
	return nil
}

// byHand runs a client with the variables of the page.
func (s *suite) byHand(ctx context.Context, c client, argv []string) (err error) {
	if c.hand != "" {
		undo, err := s.withUnkeyed(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	return s.runs(ctx, c, s.world.environ(s.vars...), argv)
}

// underExec runs a client with nothing set but what `broker exec` sets, and looks
// whether its key is dead afterwards.
func (s *suite) underExec(ctx context.Context, c client, argv []string) error {
	keyFile := filepath.Join(s.world.dir, "run", "key")
	if err := s.runs(ctx, c, s.world.environ(), s.exec(keyFile, argv)); err != nil {
		return err
	}
	return s.dead(ctx, keyFile)
}

// exec is the command that runs a client under `broker exec` and leaves its key
// in a file, for dead to try.
func (s *suite) exec(keyFile string, argv []string) []string {
	return append([]string{
		s.world.broker, "exec", "--account", user, "--resource", "graph", "--resource", "ews", "--",
		"sh", "-c", `printf %s "$BROKER_KEY" >"$0"; exec "$@"`, keyFile,
	}, argv...)
}

// dead tries the key that a command had.
func (s *suite) dead(ctx context.Context, keyFile string) error {
	key, err := os.ReadFile(keyFile)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(key, []byte("brk_")) {
		return errors.New("broker exec set no BROKER_KEY")
	}
	status, err := s.world.get(ctx, "/v1/token?resource=graph", string(key))
	if err == nil && status != http.StatusUnauthorized {
		err = fmt.Errorf("after the command its key is answered with %d, want 401", status)
	}
	return errors.Join(err, os.Remove(keyFile))
}

// runs runs a client and judges it.
func (s *suite) runs(ctx context.Context, c client, env, argv []string) error {
	stdout, stderr, code, err := s.world.command(ctx, env, "", argv...)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err == nil {
		err = s.world.judge(ctx, c, stdout)
	}
	if err != nil {
		return fmt.Errorf("%w\n%s%s", err, stdout, stderr)
	}
	return nil
}

// withUnkeyed restarts the broker so that the consumer "unauthenticated" needs no
// key, and gives the way back.
func (s *suite) withUnkeyed(ctx context.Context) (undo func() error, err error) {
	if _, err := s.world.must(ctx, s.world.environ(), s.world.broker, "consumers", "add", "unauthenticated", "--account", user, "--resource", "graph"); err != nil {
		return nil, err
	}
	restart := func(flags ...string) error {
		if err := s.world.stop(); err != nil {
			return err
		}
		return s.world.serve(ctx, flags...)
	}
	if err := restart("--set", unkeyed); err != nil {
		return nil, err
	}
	return func() error {
		_, err := s.world.must(ctx, s.world.environ(), s.world.broker, "consumers", "remove", "unauthenticated")
		return errors.Join(err, restart())
	}, nil
}
