package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
)

// serve is a child process: "echo", "collector", "resource" or "reverse". It listens on a free port of
// loopback, prints the address, and ends when its standard input does. "awake" listens to nobody.
func serve(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("serve what?")
	}
	var handler http.Handler
	switch args[0] {
	case "awake":
		return awake()
	case "echo":
		handler = bareEcho()
	case "collector":
		handler = collector()
	case "resource":
		handler = resource()
	case "reverse":
		var err error
		if handler, err = reverse(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("serve %s?", args[0])
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var secure *tls.Config
	if args[0] == "resource" {
		cert, err := selfSigned(os.Getenv(certFile))
		if err != nil {
			return err
		}
		secure = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	fmt.Println(l.Addr())
	// The broker's own timeouts (internal/httpapi/serve.go): handlers are compared,
	// not servers with and without them.
	srv := &http.Server{
		Handler: handler, TLSConfig: secure, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 90 * time.Second,
		WriteTimeout: 90 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = srv.Close()
	}()
	if args[0] == "resource" { // a large answer takes as long as it takes
		srv.ReadTimeout, srv.WriteTimeout = 0, 0
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bareEcho answers with the bytes that it was told by PUT, and does nothing else.
func bareEcho() http.Handler {
	var body atomic.Pointer[[]byte]
	e := echo.New()
	e.PUT("/v1/token", func(c echo.Context) error {
		b, err := io.ReadAll(io.LimitReader(c.Request().Body, 1<<20))
		if err != nil {
			return err
		}
		body.Store(&b)
		return c.NoContent(http.StatusNoContent)
	})
	e.GET("/v1/token", func(c echo.Context) error {
		b := *body.Load()
		h := c.Response().Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Length", strconv.Itoa(len(b))) // else net/http sends it in chunks, which is slower
		return c.Blob(http.StatusOK, "application/json", b)
	})
	return e
}

// collector takes in traces as OTLP over HTTP and counts the spans; GET tells
// how many came.
func collector() http.Handler {
	var spans atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		spans.Add(int64(countSpans(b)))
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, spans.Load())
	})
	return mux
}

// countSpans counts the spans of an ExportTraceServiceRequest: its field 1 is
// ResourceSpans, whose field 2 is ScopeSpans, whose field 2 is Span.
func countSpans(request []byte) int {
	n := 0
	for _, resource := range fields(request, 1) {
		for _, scope := range fields(resource, 2) {
			n += len(fields(scope, 2))
		}
	}
	return n
}

// fields gives the length-delimited fields of one number in a protobuf message,
// as far as it can be read. None of the messages above has others than
// length-delimited fields.
func fields(message []byte, number uint64) [][]byte {
	var found [][]byte
	for len(message) > 0 {
		tag, n := binary.Uvarint(message)
		if n <= 0 || tag&7 != 2 {
			break
		}
		message = message[n:]
		size, n := binary.Uvarint(message)
		if n <= 0 || size > uint64(len(message)-n) {
			break
		}
		if tag>>3 == number {
			found = append(found, message[n:n+int(size)])
		}
		message = message[n+int(size):]
	}
	return found
}
