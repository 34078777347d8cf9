package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/peer"
)

// This file looks at the broker's port: who has it where no broker of this state
// directory runs, and whether the broker's gate holds where one does.

// portTime bounds what is asked of a port of this machine.
const portTime = 2 * time.Second

// port looks whether the port is free for the broker to start.
func (d *doctor) port(ctx context.Context) {
	if d.loaded == nil {
		d.skip(later(nameConfig), namePort)
		return
	}
	listen := d.loaded.Config.Listen
	l, err := listenOn(ctx, listen)
	if err == nil {
		_ = l.Close()
		d.found(namePort, resultOK, "Nobody else has the port of "+listen+".", "")
		return
	}
	const other = "End it, or choose another port with the setting listen; programs must then be told the new one."
	switch who, isBroker, answers := d.holderOf(ctx, listen); {
	case isBroker:
		d.found(namePort, resultProblem, "Another broker has the port of "+listen+who+": one of another account or state directory.",
			"Give this command its --state-dir, or choose another port with the setting listen.")
	case answers:
		d.found(namePort, resultProblem, "A program that is not a broker has the port of "+listen+who+".", other)
	default:
		d.found(namePort, resultProblem, "The port of "+listen+" cannot be opened: "+sentence(err), "Choose another port with the setting listen.")
	}
}

// holderOf connects to a port and says who is there: which process, where the
// system tells, and whether it speaks like a broker.
func (d *doctor) holderOf(ctx context.Context, address string) (who string, isBroker, answers bool) {
	ctx, cancel := context.WithTimeout(ctx, portTime)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", false, false
	}
	if p, err := peer.NewConn(conn, nil).Process(ctx); err == nil && p.PID != 0 {
		who = fmt.Sprintf(" (process %d", p.PID)
		if p.Image != "" {
			who += ", " + filepath.Base(p.Image)
		}
		who += ")"
	}
	_ = conn.Close()
	_, port, _ := net.SplitHostPort(address)                                       // it was connected to
	status, kind := livez(ctx, address, net.JoinHostPort(httpapi.ProbeHost, port)) // a broker refuses that in its own words
	return who, status == http.StatusForbidden && kind == problemType, true
}

// problemType is what the gate refuses with.
const problemType = "application/problem+json"

// gate asks the broker by each of its names, and by one that is none, as a page
// could have one resolved to this machine (DNS rebinding). Nothing secret is sent:
// the probe needs no key.
func (d *doctor) gate(ctx context.Context, listen string) {
	if !d.only.has(nameGate) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, portTime)
	defer cancel()
	ip, port, err := net.SplitHostPort(listen)
	if err != nil {
		d.skip("The broker's address is not known.", nameGate)
		return
	}
	if status, _ := livez(ctx, listen, listen); status != http.StatusOK {
		d.found(nameGate, resultProblem, fmt.Sprintf("The broker does not answer at %s (%s).", listen, shownStatus(status)),
			"Look for a filter or a proxy of this machine that stands before loopback, and have it leave "+listen+" alone.")
		return
	}
	local, at := net.JoinHostPort("localhost", port), listen
	if ip == "127.0.0.1" { // then the name leads there, too
		at = local
	}
	if status, _ := livez(ctx, at, local); status != http.StatusOK {
		d.found(nameGate, resultProblem, fmt.Sprintf("The broker does not answer to the name %s (%s), so that some programs get nothing.", local, shownStatus(status)),
			"See that localhost is 127.0.0.1 in the hosts file, that no other program has the port on ::1, and that no filter stands before loopback; or let programs use "+listen+".")
		return
	}
	if status, _ := livez(ctx, listen, net.JoinHostPort(httpapi.ProbeHost, port)); status != http.StatusForbidden {
		d.found(nameGate, resultProblem, fmt.Sprintf("What answers at %s takes a foreign Host header (%s), so that a web page could reach it.", listen, shownStatus(status)),
			"Find what stands before the broker and rewrites Host (a port forwarder, a debugging proxy), and end it.")
		return
	}
	d.found(nameGate, resultOK, "The broker answers to its own names, and refuses a foreign one.", "")
}

func shownStatus(status int) string {
	if status == 0 {
		return "no answer"
	}
	return fmt.Sprintf("HTTP %d", status)
}

// livez asks who listens at address whether it lives, by the name host.
func livez(ctx context.Context, address, host string) (status int, kind string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/livez", nil)
	if err != nil {
		return 0, ""
	}
	req.Host = host
	way := &http.Transport{DisableKeepAlives: true} // without a proxy: this is loopback
	res, err := way.RoundTrip(req)
	if err != nil {
		return 0, ""
	}
	_ = res.Body.Close()
	kind, _, _ = strings.Cut(res.Header.Get("Content-Type"), ";")
	return res.StatusCode, strings.TrimSpace(kind)
}
