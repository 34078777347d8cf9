package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// manual prints broker.1: what `broker --help` and the help of each of its
// commands say, so that the page and the program cannot differ.
func (r release) manual(out io.Writer, program string) error {
	help, err := helpOf(program)
	if err != nil {
		return err
	}
	commands := commandsOf(help)
	if len(commands) == 0 {
		return errors.New("the help names no command")
	}
	texts := map[string]string{}
	for _, c := range commands {
		if texts[c], err = helpOf(program, c); err != nil {
			return err
		}
	}
	var b strings.Builder
	r.page(&b, help, commands, texts)
	_, err = io.WriteString(out, b.String())
	return err
}

// page writes the page in the macros of man(7).
func (r release) page(out *strings.Builder, help string, commands []string, texts map[string]string) {
	about, _, _ := strings.Cut(help, "\n\n")
	fmt.Fprintf(out, ".TH BROKER 1 \"%s\" \"M365 Token Broker %s\" \"User Commands\"\n", r.made.Format("2006-01-02"), roff(r.version))
	fmt.Fprint(out, ".SH NAME\nbroker \\- one owner of a Microsoft 365 sign\\-in, for the programs of a machine\n")
	fmt.Fprint(out, ".SH SYNOPSIS\n.B broker\n.I command\n[\\fIflags\\fR]\n")
	fmt.Fprintf(out, ".SH DESCRIPTION\n%s\n", roff(about))
	fmt.Fprintf(out, ".SH OVERVIEW\n%s", literal(strings.TrimPrefix(help, about)))
	fmt.Fprint(out, ".SH COMMANDS\n")
	for _, c := range commands {
		fmt.Fprintf(out, ".SS broker %s\n%s", roff(c), literal(texts[c]))
	}
	fmt.Fprint(out, ".SH FILES\n", literal(`~/.config/m365-token-broker/broker.yaml      the configuration
~/.config/m365-token-broker/conf.d/*.yaml    parts of it, merged in the order of their names
~/.local/state/m365-token-broker             the state: admin key, lock, audit log, file store
/usr/lib/systemd/user/m365-token-broker.service
                                             the unit, for systemctl --user`))
	fmt.Fprint(out, ".SH EXIT STATUS\n", literal(`0  done
1  failed
2  wrong usage
3  a sign-in is required
4  denied by policy
5  Microsoft's service is not available`))
}

// helpOf asks the program for help, with nothing of this machine around it.
func helpOf(program string, command ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), program, append(command, "--help")...)
	cmd.Env = []string{"HOME=/nonexistent", "LANG=C.UTF-8"}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s --help: %w", program, strings.Join(command, " "), err)
	}
	return string(bytes.TrimSpace(out)), nil
}

// listed is a line of the help's lists of commands; flags begin with a dash.
var listed = regexp.MustCompile(`(?m)^  ([a-z][a-z-]*) {2,}\S`)

// commandsOf finds the commands in the help: the lists stand behind the examples
// and before the flags.
func commandsOf(help string) []string {
	_, lists, found := strings.Cut(help, "\nStart here:")
	if !found {
		return nil
	}
	lists, _, _ = strings.Cut(lists, "\nFlags:")
	var names []string
	for _, m := range listed.FindAllStringSubmatch(lists, -1) {
		if m[1] != "help" {
			names = append(names, m[1])
		}
	}
	return names
}

// roff escapes what troff would take for its own. A line must not begin with a
// dot or a quote.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}

// literal is text that keeps its lines.
func literal(text string) string {
	return ".nf\n" + roff(strings.Trim(text, "\n")) + "\n.fi\n"
}
