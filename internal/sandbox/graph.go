package sandbox

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// mailboxSize is how many messages every user has.
const mailboxSize = 25

// serveGraph is a small Microsoft Graph: /v1.0/me and /v1.0/me/messages.
func (s *Sandbox) serveGraph(w http.ResponseWriter, r *http.Request) {
	s.run(EndpointGraph, w, r, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Request-Id", w.Header().Get(headerRequestID)) // Graph's name for it
		c, err := s.admit(r, audienceGraph)
		if err != nil {
			s.turnAway(w, EndpointGraph, err)
			return
		}
		switch path := strings.TrimPrefix(r.URL.Path, "/v1.0"); {
		case r.Method != http.MethodGet:
			s.graphError(w, http.StatusMethodNotAllowed, "Request_BadRequest", "The sandbox's Graph only reads.")
		case path == "/me" && c.permits("User.Read", "User.ReadWrite", "User.Read.All"):
			s.serveMe(w, c)
		case path == "/me/messages" && c.permits("Mail.Read", "Mail.ReadWrite", "Mail.ReadBasic"):
			s.serveMessages(w, r, c)
		case path == "/me" || path == "/me/messages":
			s.graphError(w, http.StatusForbidden, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")
		default:
			s.graphError(w, http.StatusNotFound, "ResourceNotFound", "Resource not found for the segment; the sandbox has /v1.0/me and /v1.0/me/messages.")
		}
	})
}

// graphUser is the default property set of a user.
type graphUser struct {
	Context           string   `json:"@odata.context"`
	BusinessPhones    []string `json:"businessPhones"`
	DisplayName       string   `json:"displayName"`
	GivenName         string   `json:"givenName"`
	JobTitle          string   `json:"jobTitle"`
	Mail              string   `json:"mail"`
	OfficeLocation    *string  `json:"officeLocation"`
	PreferredLanguage string   `json:"preferredLanguage"`
	UserPrincipalName string   `json:"userPrincipalName"`
	ID                string   `json:"id"`
}

func (s *Sandbox) serveMe(w http.ResponseWriter, c accessClaims) {
	writeJSON(w, http.StatusOK, graphUser{
		Context: s.url + "/v1.0/$metadata#users/$entity", BusinessPhones: []string{}, DisplayName: c.Name, GivenName: c.GivenName,
		JobTitle: "Sandbox user", Mail: c.UPN, PreferredLanguage: "en", UserPrincipalName: c.UPN, ID: c.ObjectID,
	})
}

// graphMessage is a message as far as mail readers look.
type graphMessage struct {
	ID       string        `json:"id"`
	Received string        `json:"receivedDateTime"`
	Subject  string        `json:"subject"`
	Preview  string        `json:"bodyPreview"`
	Read     bool          `json:"isRead"`
	From     graphMailFrom `json:"from"`
}

type graphMailFrom struct {
	EmailAddress struct {
		Name    string `json:"name"`
		Address string `json:"address"`
	} `json:"emailAddress"`
}

// graphPage is one page of a collection.
type graphPage struct {
	Context string         `json:"@odata.context"`
	Next    string         `json:"@odata.nextLink,omitempty"`
	Value   []graphMessage `json:"value"`
}

// serveMessages pages through the mailbox with $top (default 10) and $skip.
func (s *Sandbox) serveMessages(w http.ResponseWriter, r *http.Request, c accessClaims) {
	top, err1 := numberOr(r.URL.Query().Get("$top"), 10)
	skip, err2 := numberOr(r.URL.Query().Get("$skip"), 0)
	if err1 != nil || err2 != nil || top < 1 || top > 1000 {
		s.graphError(w, http.StatusBadRequest, "ErrorInvalidUrlQuery", "$top must be a number from 1 to 1000, $skip a number from 0.")
		return
	}
	page := graphPage{Context: s.url + "/v1.0/$metadata#users('" + c.ObjectID + "')/messages", Value: []graphMessage{}}
	for n := skip; n < min(skip+top, mailboxSize); n++ {
		m := mailAt(c.UPN, n, s.now())
		g := graphMessage{ID: m.id, Received: m.received.Format(time.RFC3339), Subject: m.subject, Preview: m.preview, Read: n > 2}
		g.From.EmailAddress.Name, g.From.EmailAddress.Address = m.from, m.address
		page.Value = append(page.Value, g)
	}
	if skip+top < mailboxSize {
		page.Next = fmt.Sprintf("%s/v1.0/me/messages?$top=%d&$skip=%d", s.url, top, skip+top)
	}
	writeJSON(w, http.StatusOK, page)
}

// mail is one message, the same through Graph and EWS.
type mail struct {
	id, subject, preview, from, address string
	received                            time.Time
}

// mailAt is message n of a mailbox, the youngest first.
func mailAt(owner string, n int, now time.Time) mail {
	return mail{
		id:      encode([]byte(fmt.Sprintf("message:%s:%03d", owner, n))),
		subject: fmt.Sprintf("Sandbox message %d", n+1), preview: "This mailbox exists in the sandbox only.",
		from: "Carol Contoso", address: "carol@" + tenantDomain,
		received: now.UTC().Truncate(time.Hour).Add(-time.Duration(n) * time.Hour),
	}
}

func numberOr(text string, otherwise int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > 1_000_000 {
		return 0, strconv.ErrRange
	}
	return n, nil
}

// graphError answers in Graph's form.
func (s *Sandbox) graphError(w http.ResponseWriter, status int, code, text string) {
	writeJSON(w, status, map[string]any{"error": map[string]any{
		"code": code, "message": text,
		"innerError": map[string]string{
			"date":       s.now().UTC().Format("2006-01-02T15:04:05"),
			"request-id": w.Header().Get(headerRequestID), "client-request-id": w.Header().Get(headerCorrelationID),
		},
	}})
}

// graphCode is Graph's error code for a status.
func graphCode(status int) string {
	switch status {
	case http.StatusTooManyRequests:
		return "TooManyRequests"
	case http.StatusServiceUnavailable:
		return "serviceNotAvailable"
	case http.StatusForbidden:
		return "Authorization_RequestDenied"
	case http.StatusUnauthorized:
		return "InvalidAuthenticationToken"
	}
	if status >= http.StatusInternalServerError {
		return "generalException"
	}
	return "BadRequest"
}
