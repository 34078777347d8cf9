package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/m365-token-broker/broker/internal/token"
)

// Times and sizes of a connection. A long poll of maxWait and a cold renewal
// must fit into answerTime, which bounds the whole request; its header and its
// body have their own, shorter times.
const (
	headerTime = 5 * time.Second
	bodyTime   = 10 * time.Second
	answerTime = (maxWait + 30) * time.Second
	idleTime   = 2 * time.Minute
	maxHeader  = 32 << 10
)

// The stop: how long requests in flight may go on as if nothing was, how long
// they then have to be answered, and when their callers may try again.
const (
	finishTime = 6 * time.Second
	answerLate = 1500 * time.Millisecond
	backAgain  = 5 * time.Second
)

// Serve answers on l until ctx ends. It then refuses new requests, lets long
// polls answer at once and gives the others 6 s to finish; those that did not are
// told that the broker is stopping. It returns nil then, 7.5 s after the end of
// ctx at the latest, or an error where l failed before. It closes l. It may be
// called for several listeners at once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	running, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	srv := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       answerTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return running },
		ConnContext:       s.withPeer,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		// OPTIONS * passes the gate like anything else.
		DisableGeneralOptionsHandler: true,
	}
	stopped := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(stopped)
		s.stop(running, giveUp, srv)
	})
	defer forget()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped
	return nil
}

// stop ends a server gracefully. giveUp ends the contexts of its requests.
func (s *Server) stop(ctx context.Context, giveUp context.CancelFunc, srv *http.Server) {
	s.stopOnce.Do(func() { close(s.stopping) })
	late := time.AfterFunc(finishTime, giveUp)
	defer late.Stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime+answerLate)
	defer cancel()
	if srv.Shutdown(ending) != nil {
		s.cfg.Log.WarnContext(ctx, "requests were cut off at the stop: they did not end when they were told to")
		_ = srv.Close()
	}
}

// isStopping reports whether the stop has begun.
func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// asStop is e, or, where the stop of the server is why the request was given up,
// an error that says so.
func (s *Server) asStop(e *token.Error) *token.Error {
	if !s.isStopping() || (e.Kind != token.KindCancelled && e.Kind != token.KindTimeout) {
		return e
	}
	return &token.Error{
		Kind: token.KindUnavailable, Op: e.Op, Err: e, RetryAfter: backAgain,
		Detail: "The broker is stopping; send the request again when it is back.",
	}
}
