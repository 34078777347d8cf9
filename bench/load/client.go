package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// target is what is asked: the bytes of one request, sent again and again.
type target struct {
	address string
	request []byte
}

func newTarget(address, key string) target {
	return target{address: address, request: []byte("GET /v1/token?resource=graph HTTP/1.1\r\nHost: " + address +
		"\r\nAuthorization: Bearer " + key + "\r\nAccept: application/json\r\n\r\n")}
}

// sample is what one variant did in one round.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // the server's, per request
	requests  int
}

// maxRequests bounds one connection's work in one round, whatever the duration.
const maxRequests = 1_000_000

// load keeps n connections busy for d. The client parses no more than HTTP/1.1
// needs: on a small machine a rich client would take the processor that is to
// be measured.
func load(ctx context.Context, t target, n int, d time.Duration) (sample, error) {
	deadline := time.Now().Add(d)
	taken := make([][]time.Duration, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	started := time.Now()
	for i := range n {
		wg.Go(func() { taken[i], errs[i] = ask(ctx, t, deadline) })
	}
	wg.Wait()
	elapsed := time.Since(started)
	all := slices.Concat(taken...)
	if err := errors.Join(errs...); err != nil {
		return sample{}, err
	}
	slices.Sort(all)
	return sample{
		perSecond: float64(len(all)) / elapsed.Seconds(),
		p50:       all[len(all)/2],
		p99:       all[len(all)*99/100],
		requests:  len(all),
	}, nil
}

// ask sends requests over one connection until the deadline.
func ask(ctx context.Context, t target, deadline time.Time) ([]time.Duration, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", t.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(deadline.Add(10 * time.Second)); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(conn, 8<<10)
	taken := make([]time.Duration, 0, 64<<10)
	for now := time.Now(); now.Before(deadline) && len(taken) < maxRequests && ctx.Err() == nil; {
		if _, err := conn.Write(t.request); err != nil {
			return nil, err
		}
		if err := readAnswer(r); err != nil {
			return nil, err
		}
		end := time.Now()
		taken = append(taken, end.Sub(now))
		now = end
	}
	if len(taken) == 0 {
		return nil, errors.New("no answer at all")
	}
	return taken, ctx.Err()
}

// readAnswer reads one answer, which must be a 200 with a Content-Length.
func readAnswer(r *bufio.Reader) error {
	status, err := readStatus(r)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("answer: %d", status)
	}
	return err
}

// readStatus reads one answer, which must have a Content-Length, and gives its
// status.
func readStatus(r *bufio.Reader) (int, error) {
	first, err := r.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	code, _, _ := strings.Cut(strings.TrimPrefix(string(first), "HTTP/1.1 "), " ")
	status, err := strconv.Atoi(code)
	if err != nil {
		return 0, fmt.Errorf("answer: %s", strings.TrimSpace(string(first)))
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			if length, err = strconv.Atoi(strings.TrimSpace(string(line[len(name):]))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("an answer without Content-Length")
	}
	_, err = io.CopyN(io.Discard, r, int64(length))
	return status, err
}
