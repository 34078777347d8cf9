package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"
)

// mailServer is as much of SMTP submission (RFC 6409) and IMAP (RFC 3501) as it
// takes to be signed in to by XOAUTH2, each on a port of its own.
type mailServer struct {
	smtpPort, imapPort string
	caPEM              []byte
	tls                *tls.Config
	listeners          []net.Listener
	serving            sync.WaitGroup

	mu     sync.Mutex
	events []string // what happened, for the test to read
}

// startMail listens on two ports of loopback.
func startMail(ctx context.Context) (*mailServer, error) {
	cert, caPEM, err := mailCertificate()
	if err != nil {
		return nil, err
	}
	m := &mailServer{caPEM: caPEM, tls: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	for _, s := range []struct {
		port  *string
		speak func(net.Conn) error
	}{{&m.smtpPort, m.smtp}, {&m.imapPort, m.imap}} {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			m.close()
			return nil, err
		}
		m.listeners = append(m.listeners, l)
		if _, *s.port, err = net.SplitHostPort(l.Addr().String()); err != nil {
			return nil, err
		}
		m.serving.Go(func() { m.accept(l, s.speak) })
	}
	return m, nil
}

func (m *mailServer) accept(l net.Listener, speak func(net.Conn) error) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		m.serving.Go(func() {
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			_ = speak(conn) // what matters of it is noted
		})
	}
}

func (m *mailServer) close() {
	for _, l := range m.listeners {
		_ = l.Close()
	}
	m.serving.Wait()
}

func (m *mailServer) note(event string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, event)
}

// take gives what happened since it was last asked.
func (m *mailServer) take() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := strings.Join(m.events, ", ")
	m.events = nil
	return all
}

// smtp speaks with one client; before STARTTLS it lets nobody in.
func (m *mailServer) smtp(conn net.Conn) error {
	in, secure := bufio.NewReader(conn), false
	say := func(lines ...string) { _, _ = fmt.Fprint(conn, strings.Join(lines, "\r\n")+"\r\n") }
	say("220 sandbox")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err // the client may just go
		}
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch verb := strings.ToUpper(words[0]); {
		case verb == "EHLO" && !secure:
			say("250-sandbox", "250 STARTTLS")
		case verb == "EHLO":
			say("250-sandbox", "250 AUTH LOGIN XOAUTH2")
		case verb == "STARTTLS" && !secure:
			say("220 go")
			conn, secure = tls.Server(conn, m.tls), true
			in = bufio.NewReader(conn)
		case verb == "AUTH" && secure && len(words) > 1 && strings.EqualFold(words[1], "XOAUTH2"):
			if len(words) == 2 {
				say("334 ")
				line, _ = in.ReadString('\n')
			}
			if err := m.signIn("SMTP.Send", line); err != nil {
				m.note("refused: " + err.Error())
				say("535 5.7.3 Authentication unsuccessful")
				return err
			}
			say("235 2.7.0 Authentication successful")
		case verb == "DATA":
			say("354 go")
			for line = ""; err == nil && line != ".\r\n"; {
				line, err = in.ReadString('\n')
			}
			m.note("a message")
			say("250 2.0.0 OK")
		case verb == "QUIT":
			say("221 bye")
			return nil
		default:
			say("250 OK")
		}
	}
}

// imap speaks with one client, which finds one folder.
func (m *mailServer) imap(plain net.Conn) error {
	conn := tls.Server(plain, m.tls)
	in := bufio.NewReader(conn)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(conn, format+"\r\n", args...) }
	say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] sandbox")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err // the client may just go
		}
		tag, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		verb, args, _ := strings.Cut(rest, " ")
		switch strings.ToUpper(verb) {
		case "CAPABILITY":
			say("* CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2")
		case "AUTHENTICATE":
			if _, _, initial := strings.Cut(args, " "); !initial {
				say("+ ")
				args, _ = in.ReadString('\n')
			}
			if err := m.signIn("IMAP.AccessAsUser.All", args); err != nil {
				m.note("refused: " + err.Error())
				say("%s NO AUTHENTICATE failed.", tag)
				return err
			}
		case "LIST":
			say(`* LIST (\HasNoChildren) "/" INBOX`)
		case "LOGOUT":
			say("* BYE")
			say("%s OK", tag)
			return nil
		}
		say("%s OK", tag)
	}
}

// signIn reads the client's XOAUTH2 answer, the last word of a line, and looks
// whether it holds the user and a token for this.
func (m *mailServer) signIn(permission, line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return errors.New("an empty XOAUTH2 answer")
	}
	answer, err := base64.StdEncoding.DecodeString(words[len(words)-1])
	if err != nil {
		return fmt.Errorf("the XOAUTH2 answer is no base64: %w", err)
	}
	rest, ok := strings.CutPrefix(string(answer), "user="+user+"\x01auth=Bearer ")
	token, end := strings.CutSuffix(rest, "\x01\x01")
	parts := strings.Split(token, ".")
	if !ok || !end || len(parts) != 3 {
		return fmt.Errorf("the XOAUTH2 answer of %d bytes is not of the form user=…^Aauth=Bearer …^A^A", len(answer))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var claims struct{ Aud, UPN, Scp string }
	if err := json.Unmarshal(payload, &claims); err != nil {
		return err
	}
	if claims.Aud != "https://outlook.office.com" || claims.UPN != user || !strings.Contains(claims.Scp, permission) {
		return fmt.Errorf("the token is for %s of %s, %s", claims.Scp, claims.Aud, claims.UPN)
	}
	m.note("signed in")
	return nil
}

// mailCertificate is a certificate for localhost that vouches for itself.
func mailCertificate() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail of the clients' sandbox"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
