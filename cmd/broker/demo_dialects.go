package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/m365-token-broker/broker/internal/audit"
	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/token"
)

// strangers are programs that know nothing of the broker: an Azure SDK, and an EWS
// client that has a user name and a password.
func (s *story) strangers(ctx context.Context) error {
	key := s.key.Reveal() // these programs have it in a variable, or as their password
	body, err := s.ask(ctx, http.MethodGet, "/msi/token?api-version=2019-08-01&resource="+graphAudience, "", http.Header{"X-Identity-Header": {key}})
	if err != nil {
		return err
	}
	var managed struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &managed); err != nil {
		return fmt.Errorf("read the managed identity's answer: %w", err)
	}
	line, err := s.callService(ctx, "graph", managed.Token)
	if err != nil {
		return err
	}
	s.say("an Azure SDK takes the broker for a managed identity (/msi/token). %s", line)
	basic := http.Request{Header: http.Header{"Content-Type": {"text/xml; charset=utf-8"}}}
	basic.SetBasicAuth("demo", key)
	if body, err = s.ask(ctx, http.MethodPost, "/proxy/ews/EWS/Exchange.asmx", getInbox, basic.Header); err != nil {
		return err
	}
	name, total, err := inbox(body)
	if err != nil {
		return err
	}
	s.say("an EWS client sends its user name and password to /proxy/ews, which puts the token in: %s holds %s items", name, total)
	var usage httpapi.EWSUsage
	if err := s.child.admin.call(ctx, http.MethodGet, "/v1/ews", nil, nil, &usage); err != nil {
		return err
	}
	if len(usage.Consumers) != 1 || len(usage.Consumers[0].Operations) != 1 {
		return fmt.Errorf("the calls of EWS were not counted: %+v", usage)
	}
	op := usage.Consumers[0].Operations[0]
	s.say("broker ews report: %s by %s, to be replaced until %s by %s (%s)", op.Operation, usage.Consumers[0].Consumer, usage.EndsOn, op.Graph, op.Permission)
	return nil
}

// graphAudience is Microsoft Graph, as Azure SDKs name it.
const graphAudience = "https%3A%2F%2Fgraph.microsoft.com"

// stolen is a key in another program than the one that it was given to, and what
// is written down of it.
func (s *story) stolen(ctx context.Context) error {
	var made httpapi.ConsumerKey
	req := httpapi.ConsumerRequest{Name: "crm", Accounts: []string{demoUser}, Resources: []string{"graph"}, Executable: `C:\Crm\sync.exe`}
	if err := s.child.admin.call(ctx, http.MethodPost, "/v1/consumers", nil, req, &made); err != nil {
		return err
	}
	err := s.consumer(token.NewSecret(made.Key)).call(ctx, http.MethodGet, "/v1/token?resource=graph", nil, nil, nil)
	e, ok := errors.AsType[*token.Error](err)
	if !ok || e.Kind != token.KindWrongProcess {
		return fmt.Errorf("want wrong-process, got %w", err)
	}
	s.say("the right key, from this program: 403 %s: %s", e.Kind.Code(), e.Detail)
	return nil
}

// writtenDown checks the audit log of a broker that has stopped.
func (s *story) writtenDown() error {
	r, err := audit.Verify(auditDir(filepath.Join(s.dir, "state")), nil)
	if err != nil {
		return err
	}
	if r.Fault != nil {
		return fmt.Errorf("the audit log is not whole: %+v", *r.Fault)
	}
	s.say("broker audit verify: %d lines say who got what and who was refused, and none is missing", r.Lines)
	return nil
}

// ask sends a request to the broker as a program does that sends its key in a way
// of its own.
func (s *story) ask(ctx context.Context, method, path, body string, header http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.child.admin.base+path, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header = header
	res, err := s.child.admin.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("call the broker: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s answered %d: %s", method, path, res.StatusCode, bytes.TrimSpace(data))
	}
	return data, nil
}
