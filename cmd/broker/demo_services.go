package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// callService uses a token as a program would, and says what came back.
func (s *story) callService(ctx context.Context, resource, accessToken string) (string, error) {
	if resource == "graph" {
		body, err := s.call(ctx, http.MethodGet, s.sb.GraphURL()+"/v1.0/me", "", accessToken)
		if err != nil {
			return "", err
		}
		var me struct {
			DisplayName       string `json:"displayName"`
			UserPrincipalName string `json:"userPrincipalName"`
		}
		if err := json.Unmarshal(body, &me); err != nil {
			return "", fmt.Errorf("read Graph's answer: %w", err)
		}
		return fmt.Sprintf("GET /v1.0/me at Graph: 200, %s (%s)", me.DisplayName, me.UserPrincipalName), nil
	}
	body, err := s.call(ctx, http.MethodPost, s.sb.EWSURL()+"/EWS/Exchange.asmx", getInbox, accessToken)
	if err != nil {
		return "", err
	}
	name, total, err := inbox(body)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("GetFolder at EWS:      200, %s holds %s items", name, total), nil
}

// getInbox is the SOAP request GetFolder for the inbox (Exchange Web Services
// reference, "GetFolder operation").
const getInbox = `<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages" xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types">
  <soap:Body><m:GetFolder>
    <m:FolderShape><t:BaseShape>Default</t:BaseShape></m:FolderShape>
    <m:FolderIds><t:DistinguishedFolderId Id="inbox"/></m:FolderIds>
  </m:GetFolder></soap:Body>
</soap:Envelope>`

// inbox finds the folder's name and size in GetFolder's answer.
func inbox(body []byte) (name, total string, err error) {
	d := xml.NewDecoder(strings.NewReader(string(body)))
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return name, total, nil
		}
		if err != nil {
			return "", "", fmt.Errorf("read EWS's answer: %w", err)
		}
		start, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch start.Name.Local {
		case "DisplayName":
			err = d.DecodeElement(&name, &start)
		case "TotalCount":
			err = d.DecodeElement(&total, &start)
		}
		if err != nil {
			return "", "", fmt.Errorf("read EWS's answer: %w", err)
		}
	}
}

// call sends one request to the sandbox's services.
func (s *story) call(ctx context.Context, method, address, body, accessToken string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	if body != "" {
		req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	}
	res, err := s.sb.Client().Do(req)
	if err != nil {
		return nil, fmt.Errorf("call the service: %w", err)
	}
	defer func() { _ = res.Body.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s answered %d", method, address, res.StatusCode)
	}
	return data, nil
}
