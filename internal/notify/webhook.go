package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/token"
)

const (
	webhookLimit  = 10 * time.Second // for one attempt
	retryAfterMax = time.Hour        // a longer wish is cut to this
	answerMax     = 64 << 10         // what is read of an answer, in bytes
	secretMin     = 16               // characters; a shorter secret could be guessed from one signed event
	secretMax     = 4 << 10

	wsaConnRefused = 10061 // WSAECONNREFUSED, Winsock's own number for ECONNREFUSED; no other system has it
)

// webhook posts events to a URL that may hold a token: nothing but its host is
// ever said of it, and no error text of the HTTP client, which quotes it.
type webhook struct {
	url        token.Secret
	host       string
	secretFile string
	client     *http.Client
	agent      string
	machine    string
}

// newWebhook checks the address and the file of the secret.
func (n *Notifier) newWebhook(s Sinks) (*webhook, error) {
	u, err := url.Parse(s.Webhook.Reveal())
	switch {
	case err != nil || u.Hostname() == "":
		return nil, wrong("The webhook's address is not a URL; write https://host/path.")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return nil, wrong("The webhook's address is neither https nor on this machine; events are sent over https only.")
	}
	w := &webhook{
		url: s.Webhook, host: u.Hostname(), secretFile: s.WebhookSecretFile, machine: n.cfg.Host,
		agent: "m365-token-broker/" + n.cfg.Version,
		client: &http.Client{
			Transport:     n.tools.transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	if _, err := w.signature(nil); err != nil {
		return nil, wrong(fmt.Sprintf("The webhook's secret cannot be used: %v.", err))
	}
	return w, nil
}

func wrong(detail string) error {
	return token.NewError(token.KindConfiguration, "set up notifications", detail)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || (err == nil && ip.IsLoopback())
}

// plainTransport carries a webhook by the settings of the broker.
func plainTransport(cfg Config) *http.Transport {
	proxy := cfg.Proxy
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	return &http.Transport{
		Proxy: func(r *http.Request) (*url.URL, error) {
			if isLoopback(r.URL.Hostname()) {
				return nil, nil //nolint:nilnil // http.Transport's way to say "none"
			}
			return proxy(r)
		},
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.Roots},
		ForceAttemptHTTP2: true,
		MaxIdleConns:      1,
		IdleConnTimeout:   30 * time.Second,
	}
}

func (w *webhook) where() string { return w.host }

// deliver posts the event once. A 2xx is success; 429, 5xx and a network that is
// away deserve another attempt; all else is an answer.
func (w *webhook) deliver(ctx context.Context, e Event) *failure {
	ctx, cancel := context.WithTimeout(ctx, webhookLimit)
	defer cancel()
	body := e.json(w.machine)
	signature, err := w.signature(body)
	if err != nil {
		return &failure{text: fmt.Sprintf("The webhook's secret cannot be used: %v.", err), retry: true}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.Reveal(), bytes.NewReader(body))
	if err != nil {
		return &failure{text: "The webhook's address is not a URL."}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", w.agent)
	req.Header.Set("Idempotency-Key", headerKey(e.Key))
	if signature != "" {
		req.Header.Set("X-Broker-Signature", signature)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return &failure{text: w.host + " " + words(err) + ".", retry: true}
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, answerMax) // so that the connection can be used again
	return w.judge(res)
}

func (w *webhook) judge(res *http.Response) *failure {
	answered := w.host + " answered " + strconv.Itoa(res.StatusCode)
	switch code := res.StatusCode; {
	case code >= 200 && code < 300:
		return nil
	case code == http.StatusTooManyRequests || code >= 500:
		return &failure{text: answered + ", and is asked again.", retry: true, after: retryAfter(res.Header.Get("Retry-After"), time.Now())}
	case code >= 300 && code < 400:
		return &failure{text: answered + ", a redirect, which is not followed; write the address that it leads to."}
	default:
		return &failure{text: answered + "; check the address in notify.webhook, and what its receiver expects."}
	}
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3), cut to an hour.
func retryAfter(value string, now time.Time) time.Duration {
	wish := time.Duration(0)
	if seconds, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31); err == nil {
		wish = time.Duration(seconds) * time.Second
	} else if on, err := http.ParseTime(value); err == nil {
		wish = on.Sub(now)
	}
	return min(max(wish, 0), retryAfterMax)
}

// headerKey is the key as it may stand in a header.
func headerKey(key string) string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	if !strings.ContainsFunc(key, odd) && len(key) <= 255 {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// signature is the value of X-Broker-Signature, or "" where there is no secret.
func (w *webhook) signature(body []byte) (string, error) {
	if w.secretFile == "" {
		return "", nil
	}
	secret, err := readSecret(w.secretFile)
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil)), nil
}

// readSecret is the file's text without the white space round it.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", cause(err))
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil {
		err = ownerfile.Check(path, info)
	}
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, secretMax+1))
	switch secret := bytes.TrimSpace(text); {
	case err != nil:
		return nil, fmt.Errorf("the file cannot be read: %w", cause(err))
	case len(text) > secretMax:
		return nil, errors.New("the file is larger than 4 KiB, so that it must be another one")
	case len(secret) < secretMin:
		return nil, fmt.Errorf("the file holds less than %d characters, which could be guessed", secretMin)
	default:
		return secret, nil
	}
}

// cause is a file error without the path, which may name a person, in the same
// words on every system where people meet it often.
func cause(err error) error {
	switch e, ok := errors.AsType[*fs.PathError](err); {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it does not exist")
	case errors.Is(err, fs.ErrPermission):
		return errors.New("the broker's user has no permission")
	case ok:
		return e.Err
	}
	return err
}

// words says why there was no answer. The error itself is not for logs: it quotes
// the address, and a proxy's.
func words(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "has a certificate that this machine does not trust; see ca_file"
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return "is not known by name here"
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return fmt.Sprintf("did not answer within %v", webhookLimit)
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.Errno(wsaConnRefused)) {
		return "refuses the connection"
	}
	return "cannot be reached"
}
