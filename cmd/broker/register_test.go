package main

import (
	"os"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/config"
)

// The page on the registration has the commands of `broker init`, each of them and
// in their order.
func TestRegisterPageHasTheCommands(t *testing.T) {
	data, err := os.ReadFile(root + "/docs/register-app.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	i := &initiation{}
	for name, commands := range map[string]string{"sh": i.azCommands(), "powershell": i.powerShell()} {
		_, commands, _ = strings.Cut(commands, "\n") // its heading
		if block := "```" + name + "\n"; !strings.Contains(page, commands) {
			t.Errorf("docs/register-app.md has no %s block with just these commands; copy them from `broker init --register-only`:\n%s%s", name, block, commands)
		}
	}
	for _, p := range append(graphPermissions, permission{"EWS.AccessAsUser.All", ewsPermission}) {
		if !strings.Contains(page, "`"+p.name+"`") || !strings.Contains(page, "`"+p.id+"`") {
			t.Errorf("docs/register-app.md does not explain the permission %s (%s)", p.name, p.id)
		}
	}
}

// The page's table of clouds has the hosts that the broker uses.
func TestRegisterPageHasTheClouds(t *testing.T) {
	data, err := os.ReadFile(root + "/docs/register-app.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[config.Cloud]string{}
	for line := range strings.Lines(string(data)) {
		for _, c := range []config.Cloud{config.CloudGlobal, config.CloudGCCHigh, config.CloudDoD, config.CloudChina} {
			if strings.HasPrefix(line, "| `"+string(c)+"` |") {
				rows[c] = line
			}
		}
	}
	if len(rows) != 4 {
		t.Fatalf("the table of clouds has %d rows", len(rows))
	}
	for c, row := range rows {
		e := c.Endpoints()
		for _, url := range []string{e.Login, e.Graph, e.Outlook} {
			if host := strings.TrimPrefix(url, "https://"); !strings.Contains(row, "`"+host+"`") {
				t.Errorf("docs/register-app.md: the row of %s lacks %s", c, host)
			}
		}
	}
}
