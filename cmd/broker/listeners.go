package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/local"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

// open opens all ways in that the settings ask for, or none.
func (w *wiring) open(ctx context.Context, cfg config.Config) (err error) {
	if w.listen, err = listenOn(ctx, cfg.Listen); err != nil {
		return err
	}
	if err = w.openSocket(ctx, cfg); err == nil {
		err = w.openPipe(cfg)
	}
	if err != nil {
		return errors.Join(err, w.shut())
	}
	return nil
}

// shut closes what open opened, where nothing is served.
func (w *wiring) shut() error {
	err := w.listen.Close()
	for _, l := range w.beside {
		err = errors.Join(err, l.Close())
	}
	return err
}

func (w *wiring) openSocket(ctx context.Context, cfg config.Config) error {
	if cfg.Socket == "" {
		return nil
	}
	l, err := local.ListenUnix(ctx, cfg.Socket, cfg.SocketGroup)
	access, isAccess := errors.AsType[*ownerfile.AccessError](err)
	switch {
	case errors.Is(err, local.ErrTaken):
		return taken("socket", cfg.Socket, err)
	case isAccess:
		return fmt.Errorf("open the setting socket: %s %s; choose another path, or run: %s", access.Path, access.Problem, access.Command)
	case err != nil:
		return fmt.Errorf("open the setting socket (%s): %w", cfg.Socket, err)
	}
	w.beside = append(w.beside, l)
	return nil
}

func (w *wiring) openPipe(cfg config.Config) error {
	if cfg.Pipe == "" {
		return nil
	}
	var sids []string
	for _, user := range cfg.PipeUsers {
		sid, err := sidOf(user)
		if err != nil {
			return fmt.Errorf("open the setting pipe for pipe_users: %w; correct the name, or make the account", err)
		}
		sids = append(sids, sid)
	}
	l, err := local.ListenPipe(cfg.Pipe, sids)
	switch {
	case errors.Is(err, local.ErrTaken):
		return taken("pipe", cfg.Pipe, err)
	case err != nil:
		return fmt.Errorf("open the setting pipe (%s): %w", cfg.Pipe, err)
	}
	w.beside = append(w.beside, l)
	return nil
}

// taken is the error of a name that is in use.
func taken(setting, name string, err error) error {
	e := token.NewError(token.KindConflict, "", fmt.Sprintf("%s is in use by another program; end it, or choose another name with the setting %s.", name, setting))
	e.Err = err
	return e
}

// apiTasks serve the one API on every way in.
func (p *parts) apiTasks() []lifecycle.Task {
	tasks := []lifecycle.Task{{Name: "API", Run: func(ctx context.Context) error { return p.server.Serve(ctx, p.listener) }}}
	for _, l := range p.beside {
		tasks = append(tasks, lifecycle.Task{
			Name: "API on the " + wayName(l),
			Run:  func(ctx context.Context) error { return p.server.Serve(ctx, l) },
		})
	}
	return tasks
}

// wayName is what the settings call a way in besides TCP.
func wayName(l net.Listener) string {
	if l.Addr().Network() == "pipe" {
		return "pipe"
	}
	return "socket"
}

// ways are the ways in, for the log.
func (p *parts) ways() []slog.Attr {
	attrs := []slog.Attr{slog.String("address", p.listener.Addr().String())}
	for _, l := range p.beside {
		attrs = append(attrs, slog.String(wayName(l), l.Addr().String()))
	}
	return attrs
}

// listening are the ways in, for people: host:port, and paths.
func (p *parts) listening(tcp string) []string {
	all := []string{tcp}
	for _, l := range p.beside {
		all = append(all, l.Addr().String())
	}
	return all
}

// asURLs writes what listening gave, for a terminal: TCP as a URL.
func asURLs(listen []string) string {
	var all []string
	for _, l := range listen {
		if !strings.ContainsAny(l, `/\`) {
			l = "http://" + l
		}
		all = append(all, l)
	}
	return strings.Join(all, ", ")
}
