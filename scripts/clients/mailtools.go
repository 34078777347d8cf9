package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mailTool is a recipe for a program that takes its password from `broker token`,
// run by the person that has signed in.
type mailTool struct {
	recipe, product string
	argv            []string // FILE is the recipe; nil: the recipe is a program
	stdin           string
	want            string // in what it prints
	happened        string // at the mail server
}

func mailTools() []mailTool {
	const letter = "To: carol@contoso.com\nSubject: hello\n\nA message of the sandbox.\n"
	return []mailTool{
		{recipe: "msmtp", product: "msmtp", argv: []string{"msmtp", "-C", "FILE", "-t"}, stdin: letter, happened: "signed in, a message"},
		{recipe: "mbsync", product: "mbsync", argv: []string{"mbsync", "-c", "FILE", "-l", "ops"}, want: "INBOX", happened: "signed in"},
		{recipe: "mutt", product: "mutt", argv: []string{"mutt", "-F", "FILE", "-e", "set copy=no", "-s", "hello", "carol@contoso.com"}, stdin: "A message.\n", happened: "signed in, a message"},
		{recipe: "smtplib", product: "python", want: "235 2.7.0", happened: "signed in"},
	}
}

// mail runs one of them against the mail server.
func (s *suite) mail(ctx context.Context, m mailTool) error {
	b, text, err := s.localized(m.recipe)
	if err != nil {
		return err
	}
	argv := m.argv
	if argv == nil {
		argv, err = s.world.place(ctx, b, text)
	} else {
		file := filepath.Join(s.world.dir, "run", m.recipe)
		err = os.WriteFile(file, []byte(text), 0o600)
		for i := range argv {
			argv[i] = strings.ReplaceAll(argv[i], "FILE", file)
		}
	}
	if err != nil {
		return err
	}
	s.world.mail.take()
	stdout, stderr, code, err := s.world.command(ctx, s.world.environ(), m.stdin, argv...)
	happened := s.world.mail.take()
	switch {
	case err != nil:
	case code != 0:
		err = fmt.Errorf("exit code %d", code)
	case !strings.Contains(stdout, m.want):
		err = fmt.Errorf("it printed %q, want %q in it", stdout, m.want)
	case happened != m.happened:
		err = errors.New("not what the mail server should have seen")
	}
	if err != nil {
		return fmt.Errorf("%w (the mail server: %s)\n%s%s", err, happened, stdout, stderr)
	}
	return nil
}
