package sandbox

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Browse plays the browser and the person in it: it opens an authorize URL of
// the sandbox, signs in as user, and takes the answer to the redirect URI on
// loopback, with POST where form_post was asked for. It is what a test hands to
// an interactive sign-in as the function that opens the browser.
func (s *Sandbox) Browse(ctx context.Context, rawURL, user string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return fmt.Errorf("sandbox: the address to browse is no URL: %w", err)
	}
	q := u.Query()
	post := q.Get("response_mode") == "form_post"
	q.Set("response_mode", "query") // a redirect is easier to follow than a page
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("sandbox: browse: %w", err)
	}
	req.Header.Set(headerControlKey, s.controlKey)
	req.Header.Set(headerControlUser, user)
	resp, err := s.Transport().RoundTrip(req)
	if err != nil {
		return fmt.Errorf("sandbox: browse: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	to, err := resp.Location()
	if resp.StatusCode != http.StatusFound || err != nil {
		return fmt.Errorf("sandbox: the sign-in page answered %s and did not go back to the program", resp.Status)
	}
	return deliver(ctx, to, post)
}

// deliver takes the parameters in the query of to back to the program.
func deliver(ctx context.Context, to *url.URL, post bool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if post {
		method, body = http.MethodPost, strings.NewReader(to.RawQuery)
		bare := *to
		bare.RawQuery = ""
		to = &bare
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), body)
	if err != nil {
		return fmt.Errorf("sandbox: go back to the program: %w", err)
	}
	if post {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	t := &http.Transport{DisableKeepAlives: true}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("sandbox: the program does not listen on its redirect URI: %w", err)
	}
	return resp.Body.Close()
}
