package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Times and sizes of a connection. A long poll of maxWait and a cold renewal
// must fit into answerTime, which bounds the whole request; its header and its
// body have their own, shorter times.
const (
	headerTime = 5 * time.Second
	bodyTime   = 10 * time.Second
	answerTime = (maxWait + 30) * time.Second
	idleTime   = 2 * time.Minute
	stopTime   = 10 * time.Second
	maxHeader  = 32 << 10
)

// Serve answers on l until ctx ends. It then refuses new requests, lets long
// polls answer at once and the others finish, and returns within 10 s: nil, or
// an error where some did not finish. It closes l. It may be called for several
// listeners at once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	running := context.WithoutCancel(ctx)
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       answerTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return running },
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		// OPTIONS * passes the gate like anything else.
		DisableGeneralOptionsHandler: true,
	}
	stopped := make(chan error, 1)
	forget := context.AfterFunc(ctx, func() { stopped <- s.stop(running, srv) })
	defer forget()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// stop ends a server gracefully.
func (s *Server) stop(ctx context.Context, srv *http.Server) error {
	s.stopOnce.Do(func() { close(s.stopping) })
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	err := srv.Shutdown(ctx)
	if err != nil {
		_ = srv.Close() // what did not finish in time is cut off
		return errors.New("requests were cut off: they did not finish within 10 s of the stop")
	}
	return nil
}
