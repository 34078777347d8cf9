package entra

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"

	"github.com/m365-token-broker/broker/internal/token"
)

// fault makes the error for a request that got no answer: err is the
// transport's. Whether the caller's own context ended is judged by the caller.
func fault(s step, host string, err error) *token.Error {
	kind, detail := token.KindUnavailable, ""
	var (
		proxy  *proxyError
		opErr  *net.OpError
		dnsErr *net.DNSError
		netErr net.Error
	)
	certificate := certificateHelp(host, err)
	switch {
	case errors.As(err, &proxy):
		detail = proxyHelp(proxy.status)
	case errors.As(err, &opErr) && opErr.Op == "proxyconnect":
		detail = "The proxy cannot be reached; check proxy_url or HTTPS_PROXY, and whether the proxy runs."
	case certificate != "":
		detail = certificate
	case errors.As(err, &netErr) && netErr.Timeout():
		kind, detail = token.KindTimeout, host+" did not answer in time"+again(s)
	case errors.As(err, &dnsErr):
		detail = fmt.Sprintf("The name %s cannot be resolved; check the network connection and DNS.", host)
	case errors.As(err, &opErr) && opErr.Op == "dial":
		detail = fmt.Sprintf("%s cannot be connected to; check the network connection, the firewall and proxy_url.", host)
	default:
		detail = "The connection to " + host + " broke" + again(s)
	}
	return &token.Error{Kind: kind, Op: s.op(), Detail: detail, Err: cause(err)}
}

// proxyHelp is the sentence for a proxy that refuses CONNECT.
func proxyHelp(status int) string {
	if status == http.StatusProxyAuthRequired {
		return helpProxyAuth
	}
	return fmt.Sprintf("The proxy refused the connection (HTTP %d); have it allow the login hosts, or change proxy_url.", status)
}

// certificateHelp is the sentence for a certificate that was not accepted, ""
// where err is none of that. It names the issuer, because that tells TLS
// inspection apart from the rest.
func certificateHelp(host string, err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		header   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		return untrustedHelp(host, unknown.Cert)
	case errors.As(err, &hostname):
		return fmt.Sprintf("The certificate shown by %s is for another name; something stands between, or authority is wrong.", host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf("The certificate of %s is outside its dates; check this machine's clock.", host)
	case errors.As(err, &verify) && len(verify.UnverifiedCertificates) > 0:
		return untrustedHelp(host, verify.UnverifiedCertificates[0])
	case errors.As(err, &invalid):
		return fmt.Sprintf("The certificate of %s is not valid; something stands between, or authority is wrong.", host)
	case errors.As(err, &header):
		return fmt.Sprintf("%s does not speak TLS at this address; check authority and proxy_url.", host)
	}
	return ""
}

// untrustedHelp names the issuer of a certificate that nothing vouches for.
func untrustedHelp(host string, cert *x509.Certificate) string {
	issuer := "an unknown issuer"
	if name := IssuerOf(cert); name != "" {
		issuer = fmt.Sprintf("%q", name)
	}
	return fmt.Sprintf("The certificate of %s was issued by %s, which this machine does not trust; if that is your TLS inspection, set ca_file to its root certificate.", host, issuer)
}

// cause keeps of a transport error what can hold no byte of an answer: errors
// of dialling and of certificates whole, of others only the error number.
func cause(err error) error {
	var (
		proxy  *proxyError
		opErr  *net.OpError
		dnsErr *net.DNSError
		errno  syscall.Errno
		verify *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &proxy):
		return proxy
	case errors.As(err, &dnsErr):
		return dnsErr
	case errors.As(err, &opErr) && (opErr.Op == "dial" || opErr.Op == "proxyconnect"):
		return opErr
	case errors.As(err, &verify):
		return errors.New(printable(verify.Error(), 300))
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return io.ErrUnexpectedEOF
	}
	return nil
}
