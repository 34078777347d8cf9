package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// person reads pages and posts their forms, as somebody with a browser does.
type person struct {
	user string
	web  *http.Client
}

func newPerson(user, caFile string) (*person, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in " + caFile)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &person{user: user, web: &http.Client{
		Jar:       jar,
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
	}}, nil
}

// approve opens the page, types the code where one is asked for, and fills in
// whatever form is shown, until a page has none. The last form of a browser's
// sign-in is the one that brings the answer to the broker.
func (p *person) approve(ctx context.Context, page, code string) error {
	answers := url.Values{"user_code": {code}, "login": {p.user}, "password": {"any"}}
	form, err := p.open(ctx, http.MethodGet, page, nil)
	for range 10 {
		if err != nil {
			return err
		}
		if form == nil {
			return nil
		}
		for name := range form.fields {
			if a := answers.Get(name); a != "" {
				form.fields.Set(name, a)
			}
		}
		form, err = p.open(ctx, http.MethodPost, form.action, form.fields)
	}
	return errors.New("the provider shows one form after the other")
}

// form is the first form of a page.
type form struct {
	action string
	fields url.Values
}

var (
	formTag   = regexp.MustCompile(`(?s)<form[^>]*action="([^"]*)".*?</form>`)
	inputTag  = regexp.MustCompile(`<input[^>]*>`)
	nameAttr  = regexp.MustCompile(`name="([^"]*)"`)
	valueAttr = regexp.MustCompile(`value="([^"]*)"`)
)

func (p *person) open(ctx context.Context, method, page string, fields url.Values) (*form, error) {
	req, err := http.NewRequestWithContext(ctx, method, page, strings.NewReader(fields.Encode()))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := p.web.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s\n%s", method, page, res.Status, body)
	}
	return findForm(string(body)), nil
}

func findForm(body string) *form {
	m := formTag.FindStringSubmatch(body)
	if m == nil {
		return nil
	}
	f := &form{action: html.UnescapeString(m[1]), fields: url.Values{}}
	for _, input := range inputTag.FindAllString(m[0], -1) {
		if name := nameAttr.FindStringSubmatch(input); name != nil {
			value := ""
			if v := valueAttr.FindStringSubmatch(input); v != nil {
				value = html.UnescapeString(v[1])
			}
			f.fields.Set(name[1], value)
		}
	}
	return f
}
