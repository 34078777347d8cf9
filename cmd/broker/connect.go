package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// loadConfig reads the settings that the flags, the environment and the files
// give.
func loadConfig(o *options) (*config.Loaded, error) {
	opts := config.Options{ConfigPath: o.config, StateDir: o.stateDir, Environ: o.env.environ}
	for _, s := range o.set {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return nil, usagef("--set %s: write it as key=value, for example --set telemetry.log_level=debug", s)
		}
		opts.Flags = append(opts.Flags, config.Override{Flag: "--set", Key: k, Value: v})
	}
	return config.Load(opts)
}

// patience is how long a command waits for another one that holds the state
// directory without serving.
const patience = 10 * time.Second

// connect gives an API to the running broker; where none runs, to one that lives
// in this process, under the instance lock, until close. A running broker is
// found by its state directory alone: settings that are wrong on disk are not in
// force there, and must not be in the way of the command that shows that.
func connect(ctx context.Context, o *options) (*api, error) {
	places, err := config.Options{ConfigPath: o.config, StateDir: o.stateDir, Environ: o.env.environ}.Places()
	if err != nil {
		return nil, err
	}
	dir := places.StateDir
	if places.Service {
		return ofService(dir)
	}
	if h, ok := lifecycle.Holder(dir); ok && h.Listen != "" {
		return remote(dir, h.Listen)
	}
	loaded, err := loadConfig(o)
	if err == nil {
		err = loaded.Ready()
	}
	if err != nil {
		return nil, err
	}
	if err := lifecycle.EnsureStateDir(dir); err != nil {
		return nil, err
	}
	return join(ctx, o, loaded)
}

// ofService speaks to the service of this machine. Where that does not run, no
// command takes its place: the sign-ins are in the secret store of the service's
// account, and a broker of this one would begin an empty store of its own. The
// directory must be the administrators': whoever owned it could have put his own
// broker and key there, and would be given what a command brings.
func ofService(dir string) (*api, error) {
	if err := ownerfile.Audit(dir); err != nil {
		return nil, fmt.Errorf("the service's state directory %w", err)
	}
	if h, ok := lifecycle.Holder(dir); ok && h.Listen != "" {
		return remote(dir, h.Listen)
	}
	return nil, serviceAway(dir)
}

// serviceAway is the answer where the service does not run.
func serviceAway(dir string) error {
	return token.NewError(token.KindConflict, "", fmt.Sprintf(
		"The broker of this machine is a service, and it does not run; start it with: broker service start (its state is in %s; for a broker of your own, use --state-dir)", dir))
}

// join waits until the state directory is free, or a broker serves from it.
func join(ctx context.Context, o *options, loaded *config.Loaded) (*api, error) {
	dir := loaded.Places.StateDir
	deadline := time.Now().Add(patience)
	for told := false; ; told = true {
		if h, ok := lifecycle.Holder(dir); ok && h.Listen != "" {
			return remote(dir, h.Listen)
		}
		lock, err := lifecycle.Lock(ctx, dir, lifecycle.Info{Version: version()})
		if err == nil {
			return inProcess(ctx, o, loaded, lock)
		}
		held, ok := errors.AsType[*lifecycle.LockedError](err)
		if !ok {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, token.NewError(token.KindConflict, "", fmt.Sprintf(
				"Another broker command (process %d) is using the state directory %s; let it finish, and try again.", held.Holder.PID, dir))
		}
		if !told {
			fmt.Fprintf(o.env.stderr, "broker: waiting for another broker command (process %d) to finish\n", held.Holder.PID)
		}
		select {
		case <-ctx.Done():
			return nil, token.NewError(token.KindCancelled, "", "Cancelled.")
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// remote speaks to the broker that listens at this address.
func remote(dir, listen string) (*api, error) {
	key, err := lifecycle.ReadAdminKey(dir)
	if err != nil {
		return nil, err
	}
	a := &api{base: "http://" + listen, key: key, stateDir: dir, lost: make(chan struct{}, 1)}
	transport := &http.Transport{DialContext: a.dial} // without a proxy: this is loopback
	a.http = &http.Client{Transport: transport, Timeout: 90 * time.Second}
	a.close = func() error { transport.CloseIdleConnections(); return nil }
	return a, nil
}

// there reports whether the broker runs that this api was made for. Ask it before
// a call that comes long after the last one: where the broker has ended, another
// program can have its port, and must not be sent the admin key.
func (a *api) there() bool {
	if a.stateDir == "" {
		return true
	}
	h, ok := lifecycle.Holder(a.stateDir)
	return ok && "http://"+h.Listen == a.base
}

// dial makes a connection that tells a.lost when it ends. HTTP reads from idle
// connections too, so that the end of the broker shows at once.
func (a *api) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return watchedConn{conn, a.lost}, nil
}

type watchedConn struct {
	net.Conn
	lost chan<- struct{}
}

// Read implements net.Conn.
func (c watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		select {
		case c.lost <- struct{}{}:
		default: // it is told already
		}
	}
	return n, err
}

// inProcess puts a broker together that listens nowhere: the API's own handler
// answers, so that there is one way in.
func inProcess(ctx context.Context, o *options, loaded *config.Loaded, lock *lifecycle.InstanceLock) (*api, error) {
	p, err := wire(ctx, loaded, wiring{env: o.env, quiet: true, seat: o.seat})
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	group := &lifecycle.Group{Log: p.log}
	go func() { ended <- group.Run(running, p.tasks()...) }()
	return &api{
		http: &http.Client{Transport: p.server.Transport()},
		base: "http://" + loaded.Config.Listen, key: p.adminKey, local: true, parts: p,
		close: func() error {
			stop()
			err := <-ended
			return errors.Join(err, p.close(context.WithoutCancel(ctx)), lock.Release())
		},
	}, nil
}
