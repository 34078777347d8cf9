package main

import (
	"slices"
	"strings"
	"testing"
)

const help = `The broker does
this and that.

Usage:
  broker [command]

Examples:
  broker serve     run it

Start here:
  serve       Run it
  mapi-x      With a dash

Look after it:
  version     Print the version

Additional Commands:
  help        Help about any command

Flags:
      --config file   a file
  -h, --help          help
`

func TestCommandsOf(t *testing.T) {
	if got, want := commandsOf(help), []string{"serve", "mapi-x", "version"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := commandsOf("Usage: something else"); got != nil {
		t.Errorf("%q out of no list", got)
	}
}

func TestPage(t *testing.T) {
	var b strings.Builder
	someday.page(&b, help, []string{"serve"}, map[string]string{"serve": "Run it.\n\n.hidden file\n'quoted'\nC:\\dir"})
	page := b.String()
	for _, want := range []string{
		".TH BROKER 1 \"2026-11-22\" \"M365 Token Broker v1.2.3\"",
		".SH DESCRIPTION\nThe broker does\nthis and that.\n",
		".SS broker serve\n.nf\nRun it.\n\n\\&.hidden file\n\\&'quoted'\nC:\\edir\n.fi\n",
		".SH EXIT STATUS",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}
