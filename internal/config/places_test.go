package config

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLocate(t *testing.T) {
	win := map[string]string{
		"ProgramData": `C:\ProgramData`, "AppData": `C:\Users\ann\AppData\Roaming`, "LocalAppData": `C:\Users\ann\AppData\Local\`,
	}
	with := func(base map[string]string, more ...string) map[string]string {
		m := maps.Clone(base)
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	const shared = `C:\ProgramData\M365TokenBroker\broker.yaml`
	const state = `C:\ProgramData\M365TokenBroker\state`
	tests := []struct {
		name, goos, config, state string
		env                       map[string]string
		exists                    string
		want                      Places
	}{
		{"Windows machine-wide", "windows", "", "", win, shared, Places{
			ConfigFile: shared, Shared: true, ConfDir: `C:\ProgramData\M365TokenBroker\conf.d`, StateDir: `C:\Users\ann\AppData\Local\M365TokenBroker`,
		}},
		{"Windows service", "windows", "", "", win, shared + "|" + state, Places{
			ConfigFile: shared, Shared: true, ConfDir: `C:\ProgramData\M365TokenBroker\conf.d`, StateDir: state, Service: true,
		}},
		{"Windows service, without its config file", "windows", "", "", win, state, Places{
			ConfigFile: `C:\Users\ann\AppData\Roaming\m365-token-broker\broker.yaml`, ConfDir: `C:\Users\ann\AppData\Roaming\m365-token-broker\conf.d`,
			StateDir: `C:\Users\ann\AppData\Local\M365TokenBroker`,
		}},
		{"Windows service, another config file", "windows", `D:\b.yaml`, "", win, shared + "|" + state, Places{
			ConfigFile: `D:\b.yaml`, Required: true, ConfDir: `D:\conf.d`, StateDir: `C:\Users\ann\AppData\Local\M365TokenBroker`,
		}},
		{"Windows service, its config file by name", "windows", `c:/programdata/M365TokenBroker\broker.yaml`, "", win, state, Places{
			ConfigFile: `c:/programdata/M365TokenBroker\broker.yaml`, Required: true, Shared: true, ConfDir: `c:/programdata/M365TokenBroker\conf.d`, StateDir: state, Service: true,
		}},
		{"Windows machine-wide, by name in the environment", "windows", "", "", with(win, "BROKER_CONFIG", shared), shared, Places{
			ConfigFile: shared, Required: true, Shared: true, ConfDir: `C:\ProgramData\M365TokenBroker\conf.d`, StateDir: `C:\Users\ann\AppData\Local\M365TokenBroker`,
		}},
		{"Windows service, another state directory", "windows", "", `D:\s`, win, shared + "|" + state, Places{
			ConfigFile: shared, Shared: true, ConfDir: `C:\ProgramData\M365TokenBroker\conf.d`, StateDir: `D:\s`,
		}},
		{"Windows user", "windows", "", "", win, "", Places{
			ConfigFile: `C:\Users\ann\AppData\Roaming\m365-token-broker\broker.yaml`, ConfDir: `C:\Users\ann\AppData\Roaming\m365-token-broker\conf.d`,
			StateDir: `C:\Users\ann\AppData\Local\M365TokenBroker`,
		}},
		{"Windows environment", "windows", "", "", with(win, "BROKER_CONFIG", `D:\b.yaml`, "BROKER_STATE_DIR", `D:\state`), shared, Places{
			ConfigFile: `D:\b.yaml`, Required: true, ConfDir: `D:\conf.d`, StateDir: `D:\state`,
		}},
		{"Windows flags", "windows", `E:/x/b.yaml`, `E:\s`, with(win, "BROKER_CONFIG", `D:\b.yaml`, "BROKER_STATE_DIR", `D:\state`), shared, Places{
			ConfigFile: `E:/x/b.yaml`, Required: true, ConfDir: `E:/x\conf.d`, StateDir: `E:\s`,
		}},
		{"Linux home", "linux", "", "", map[string]string{"HOME": "/home/ann"}, "", Places{
			ConfigFile: "/home/ann/.config/m365-token-broker/broker.yaml", ConfDir: "/home/ann/.config/m365-token-broker/conf.d",
			StateDir: "/home/ann/.local/state/m365-token-broker",
		}},
		{"Linux XDG", "linux", "", "", map[string]string{"XDG_CONFIG_HOME": "/c/", "XDG_STATE_HOME": "/s"}, "", Places{
			ConfigFile: "/c/m365-token-broker/broker.yaml", ConfDir: "/c/m365-token-broker/conf.d", StateDir: "/s/m365-token-broker",
		}},
		{"Linux relative XDG is ignored", "linux", "", "", map[string]string{"HOME": "/h", "XDG_CONFIG_HOME": "c", "XDG_STATE_HOME": "s"}, "", Places{
			ConfigFile: "/h/.config/m365-token-broker/broker.yaml", ConfDir: "/h/.config/m365-token-broker/conf.d", StateDir: "/h/.local/state/m365-token-broker",
		}},
		{"Linux knows no ProgramData", "linux", "", "", map[string]string{"HOME": "/h", "ProgramData": "/p"}, "/p/M365TokenBroker/broker.yaml", Places{
			ConfigFile: "/h/.config/m365-token-broker/broker.yaml", ConfDir: "/h/.config/m365-token-broker/conf.d", StateDir: "/h/.local/state/m365-token-broker",
		}},
		{"macOS", "darwin", "", "", map[string]string{"HOME": "/Users/ann"}, "", Places{
			ConfigFile: "/Users/ann/Library/Application Support/m365-token-broker/broker.yaml",
			ConfDir:    "/Users/ann/Library/Application Support/m365-token-broker/conf.d", StateDir: "/Users/ann/.local/state/m365-token-broker",
		}},
		{"relative flag", "linux", "b.yaml", "s", nil, "", Places{ConfigFile: "b.yaml", Required: true, ConfDir: "./conf.d", StateDir: "s"}},
		{"root", "linux", "/b.yaml", "/s", nil, "", Places{ConfigFile: "/b.yaml", Required: true, ConfDir: "/conf.d", StateDir: "/s"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Locate(tt.goos, tt.config, tt.state,
				func(k string) string { return tt.env[k] }, func(p string) bool { return p != "" && slices.Contains(strings.Split(tt.exists, "|"), p) })
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLocateNowhere(t *testing.T) {
	nothing := func(string) string { return "" }
	tests := map[string]string{
		"linux": "there is no place for the config file, because neither XDG_CONFIG_HOME nor HOME is set; use --config or set BROKER_CONFIG\n" +
			"there is no place for the state directory, because neither XDG_STATE_HOME nor HOME is set; use --state-dir or set BROKER_STATE_DIR",
		"windows": "there is no place for the config file, because AppData is not set; use --config or set BROKER_CONFIG\n" +
			"there is no place for the state directory, because LocalAppData is not set; use --state-dir or set BROKER_STATE_DIR",
		"darwin": "there is no place for the config file, because HOME is not set; use --config or set BROKER_CONFIG\n" +
			"there is no place for the state directory, because neither XDG_STATE_HOME nor HOME is set; use --state-dir or set BROKER_STATE_DIR",
	}
	for goos, want := range tests {
		_, err := Locate(goos, "", "", nothing, func(string) bool { return false })
		if _, ok := errors.AsType[*Error](err); !ok || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", goos, err, want)
		}
	}
}
