package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/credstore"
	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/processors"
	"github.com/m365-token-broker/broker/internal/token"
)

// newServe is `broker serve`.
func newServe(o *options) *cobra.Command {
	var listen, ready string
	var keyInFile bool
	var place seatFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the broker in the foreground",
		Long: `Run the broker in the foreground, until Ctrl-C or a termination signal.

It listens on a loopback address, and where the settings say so on a Unix socket
(socket) or a Windows named pipe (pipe): on nothing else. On the way out, requests in flight are
finished and the sign-ins are stored, within ten seconds.`,
		Example: `  broker serve
  broker serve --config /etc/broker.yaml --state-dir /var/lib/broker
  broker serve --listen 127.0.0.1:9000 --set telemetry.log_level=debug`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := place.check(); err != nil {
				return err
			}
			if listen != "" {
				o.set = append(o.set, "listen="+listen)
			}
			return serve(cmd.Context(), o, &place, wiring{env: o.env, keyInFile: keyInFile}, ready)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "loopback `address` and port (the setting listen)")
	cmd.Flags().StringVar(&ready, "ready-file", "", "create this `file`, with the address in it, when the broker listens")
	cmd.Flags().BoolVar(&keyInFile, "key-in-file", false, "let the file store keep its key in the state directory, not in the platform's store")
	place.add(cmd)
	return cmd
}

// serve runs the broker until a signal, or until a part of it fails. A service
// gets no signals: Windows sends it one whenever any user logs off.
func serve(ctx context.Context, o *options, place *seatFlags, w wiring, ready string) error {
	loaded, err := loadConfig(o)
	if err != nil {
		return err
	}
	if err := loaded.Ready(); err != nil {
		return err
	}
	if loaded.Places.Service {
		return serviceAway(loaded.Places.StateDir)
	}
	if err := lifecycle.EnsureStateDir(loaded.Places.StateDir); err != nil {
		return err
	}
	lock, err := lifecycle.Lock(ctx, loaded.Places.StateDir, lifecycle.Info{Version: version()})
	if err != nil {
		return err
	}
	defer func() { _ = lock.Release() }()
	if w.seat, err = place.take(ctx); err != nil {
		return err
	}
	if err := w.open(ctx, loaded.Config); err != nil {
		return err
	}
	w.limit = processors.New(o.env.getenv)
	p, err := wire(ctx, loaded, w)
	if err != nil {
		return errors.Join(err, w.shut())
	}
	group := &lifecycle.Group{Log: p.log}
	if w.served == nil {
		var stop func()
		ctx, stop = lifecycle.Signals(ctx, o.env.exit)
		defer stop()
	} else {
		group.StopTimeout = serviceTasksEnd
	}
	if err := p.announce(ctx, lock, ready); err != nil {
		return errors.Join(err, w.shut(), p.close(context.WithoutCancel(ctx)))
	}
	if w.served != nil {
		w.served(p)
	}
	err = group.Run(ctx, append(p.tasks(), gcPace(o.env.getenv), lifecycle.Task{Name: "number of processors", Run: p.limit.Run})...)
	err = errors.Join(err, p.close(context.WithoutCancel(ctx)))
	p.log.InfoContext(ctx, "stopped")
	if ready != "" {
		_ = os.Remove(ready)
	}
	return err
}

// listenOn opens the port; one in use says which setting to change.
func listenOn(ctx context.Context, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err == nil {
		return l, nil
	}
	if errors.Is(err, syscall.EADDRINUSE) || isAddressInUse(err) {
		return nil, token.NewError(token.KindConflict, "",
			fmt.Sprintf("%s is in use by another program; choose another port with the setting listen (broker.yaml, BROKER_LISTEN or --listen).", address))
	}
	return nil, fmt.Errorf("listen on %s (the setting listen): %w", address, err)
}

// announce says that the broker is there: in the lock, for the other commands,
// in the log, and in the ready file.
func (p *parts) announce(ctx context.Context, lock *lifecycle.InstanceLock, ready string) error {
	address := p.listener.Addr().String()
	if err := lock.Update(lifecycle.Info{Listen: address, Version: version()}); err != nil {
		return err
	}
	for _, w := range p.loaded.Warnings {
		p.log.WarnContext(ctx, "a setting needs a look", slog.String("warning", w))
	}
	if err := credstore.Check(ctx, p.store); err != nil {
		p.log.ErrorContext(ctx, "the secret store does not work at the moment; sign-ins are kept in memory and stored when it does", slog.Any("error", err))
	}
	p.log.LogAttrs(ctx, slog.LevelInfo, "serving", append(p.ways(), slog.String("version", version()),
		slog.String("config", configName(p.loaded)), slog.String("state_dir", p.loaded.Places.StateDir),
		slog.String("store", p.storeInfo.String()), slog.Int("accounts", len(p.book.Names())))...)
	if ready == "" {
		return nil
	}
	if err := ownerfile.Write(ready, []byte(address+"\n")); err != nil {
		return fmt.Errorf("write the ready file: %w", err)
	}
	return nil
}

// configName names the file that was read, for people.
func configName(l *config.Loaded) string {
	if len(l.Files) == 0 {
		return "none"
	}
	return l.Files[0]
}
