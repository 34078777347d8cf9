//go:build !windows

package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// newWayIn is a Unix socket, at a path that is short enough for one.
func newWayIn(t *testing.T) wayIn {
	t.Helper()
	dir, err := os.MkdirTemp("", "broker")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "made", "broker.sock")
	t.Cleanup(func() {
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is left behind")
		}
	})
	return wayIn{yaml: "socket: " + path + "\n", name: path, anew: func() {}, dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
}

// unopenable are settings, each with what the error says.
func unopenable(t *testing.T) map[string]string {
	t.Helper()
	way := newWayIn(t)
	dir := filepath.Dir(filepath.Dir(way.name))
	busy, file, open := filepath.Join(dir, "busy"), filepath.Join(dir, "file"), filepath.Join(dir, "open")
	l, err := net.Listen("unix", busy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"socket: " + busy:                                    "is in use by another program; end it, or choose another name with the setting socket",
		"socket: " + file:                                    "is not a socket; remove it, or choose another path",
		"socket: " + filepath.Join(open, "s"):                "open the setting socket: " + open + " can be written by other users (mode 0777)",
		"socket: " + way.name + "\nsocket_group: no-such-go": `find the group "no-such-go"`,
	}
}
