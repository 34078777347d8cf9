package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// newWayIn is a named pipe. Under Wine the first client of a pipe gets the instance
// that only holds the name, and would wait there for ever: so each of these pipes
// gets one that nobody waits for.
func newWayIn(t *testing.T) wayIn {
	t.Helper()
	name := fmt.Sprintf(`\\.\pipe\m365-broker-test-%d`, os.Getpid())
	wine := windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
	var mu sync.Mutex
	var dud net.Conn
	anew := func() {
		if dud != nil {
			dud.Close()
			dud = nil
		}
	}
	t.Cleanup(anew)
	return wayIn{
		yaml: fmt.Sprintf("pipe: '%s'\npipe_users: [S-1-5-18]\n", name), name: name, anew: anew,
		dial: func(ctx context.Context) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			c, err := winio.DialPipeContext(ctx, name)
			if !wine || dud != nil || err != nil {
				return c, err
			}
			dud = c
			return winio.DialPipeContext(ctx, name)
		},
	}
}

// unopenable are settings, each with what the error says.
func unopenable(*testing.T) map[string]string {
	return map[string]string{
		"pipe: '\\\\.\\pipe\\m365-broker-test-no'\npipe_users: ['nosuchmachine\\nobody']": `open the setting pipe for pipe_users: find the account nosuchmachine\nobody`,
	}
}
