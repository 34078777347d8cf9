package httpapi

import (
	"embed"
	"encoding/json"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file is the broker's own page, for a person: its files, the way in, and the
// routes that its script calls. Those answer with the very views of the API, by the
// same handlers. They are no interface for others, so that they do not stand in the
// document: the page and the broker are always of one version.

//go:embed ui
var pageFiles embed.FS

// pageEntry is the path that `broker ui` opens, with the ticket behind it as
// fragment, which browsers send to nobody.
const pageEntry = pagePath + "/enter"

// newPageRoutes is who may use what of the page.
func newPageRoutes() routes {
	const get, post, del = http.MethodGet, http.MethodPost, http.MethodDelete
	return routes{
		pagePath:               {get: {right: pageFile}},
		pagePath + "/":         {get: {right: pageFile}},
		pageEntry:              {get: {right: pageFile}},
		pagePath + "/page.js":  {get: {right: pageFile}},
		pagePath + "/view.js":  {get: {right: pageFile}},
		pagePath + "/dom.js":   {get: {right: pageFile}},
		pagePath + "/page.css": {get: {right: pageFile}},
		pagePath + "/icon.svg": {get: {right: pageFile}},

		pagePath + "/session":                {post: {right: pageTicket}, del: {right: pageSession}},
		pagePath + "/api/status":             {get: {right: pageSession}},
		pagePath + "/api/consumers":          {get: {right: pageSession}},
		pagePath + "/api/doctor":             {get: {right: pageSession}},
		pagePath + "/api/accounts/{account}": {del: {right: pageSession}},
		pagePath + "/api/signins":            {post: {right: pageSession}},
		pagePath + "/api/signins/{id}":       {get: {right: pageSession, query: []string{"wait"}}, del: {right: pageSession}},
		pagePath + "/api/signins/{id}/qr":    {get: {right: pageSession}},
	}
}

// registerPage puts the page's routes beside the generated ones.
func (s *Server) registerPage() {
	s.echo.GET(pagePath, func(c echo.Context) error { return c.Redirect(http.StatusPermanentRedirect, pagePath+"/") })
	for path, f := range map[string]struct{ name, kind string }{
		pagePath + "/":         {"page.html", "text/html; charset=utf-8"},
		pageEntry:              {"page.html", "text/html; charset=utf-8"},
		pagePath + "/page.js":  {"page.js", "text/javascript; charset=utf-8"},
		pagePath + "/view.js":  {"view.js", "text/javascript; charset=utf-8"},
		pagePath + "/dom.js":   {"dom.js", "text/javascript; charset=utf-8"},
		pagePath + "/page.css": {"page.css", "text/css; charset=utf-8"},
		pagePath + "/icon.svg": {"icon.svg", "image/svg+xml"},
	} {
		s.echo.GET(path, func(c echo.Context) error {
			text, err := pageFiles.ReadFile("ui/" + f.name)
			if err != nil {
				return &token.Error{Kind: token.KindInternal, Op: "serve page", Err: err}
			}
			return c.Blob(http.StatusOK, f.kind, text)
		})
	}
	// The generated wrappers read the parameters, here as under /v1.
	api := ServerInterfaceWrapper{Handler: s}
	s.echo.POST(pagePath+"/session", s.enterPage)
	s.echo.DELETE(pagePath+"/session", s.leavePage)
	s.echo.GET(pagePath+"/api/status", api.GetStatus)
	s.echo.GET(pagePath+"/api/consumers", api.ListConsumers)
	s.echo.GET(pagePath+"/api/doctor", api.GetDoctor)
	s.echo.DELETE(pagePath+"/api/accounts/:account", api.SignOut)
	s.echo.POST(pagePath+"/api/signins", api.StartSignIn)
	s.echo.GET(pagePath+"/api/signins/:id", api.GetSignIn)
	s.echo.DELETE(pagePath+"/api/signins/:id", api.CancelSignIn)
	s.echo.GET(pagePath+"/api/signins/:id/qr", s.signInQR)
}

// CreateUITicket makes a ticket for the page.
func (s *Server) CreateUITicket(c echo.Context) error {
	var in UITicketRequest
	if err := s.decode(c, "UITicketRequest", true, &in); err != nil {
		return err
	}
	user := ""
	if in.SameUser {
		user = userOf(c.Request())
	}
	text, ends := s.door.ticket(user)
	return answer(c, http.StatusCreated, UITicket{Ticket: text, Path: pageEntry, ExpiresOn: epoch(ends)})
}

// pageOpened is the answer to a page that came in.
type pageOpened struct {
	CSRF   string    `json:"csrf"`
	EndsAt time.Time `json:"ends_at"`
}

// enterPage takes a ticket and opens a session.
func (s *Server) enterPage(c echo.Context) error {
	r := c.Request()
	raw, err := s.readBody(c.Response(), r)
	if err != nil {
		return err
	}
	if err := isJSON(r.Header); err != nil {
		return err
	}
	var in struct {
		Ticket string `json:"ticket"`
	}
	if json.Unmarshal(raw, &in) != nil {
		return badRequest("The body is not a ticket; to get one, run: broker ui")
	}
	cookie, csrf, err := s.door.enter(in.Ticket, userOf(r), r.CookiesNamed(s.door.cookie))
	if err != nil {
		return err
	}
	if s.cfg.Audit != nil {
		s.cfg.Audit.Did(consumer.PageIdentity(), "ui.entered", "", requestID(c.Response()))
	}
	c.SetCookie(s.door.asCookie(cookie))
	return answer(c, http.StatusCreated, pageOpened{CSRF: csrf, EndsAt: utc(time.Now().Add(pageTime))})
}

// leavePage ends the session.
func (s *Server) leavePage(c echo.Context) error {
	s.door.leave(c.Request().CookiesNamed(s.door.cookie))
	c.SetCookie(s.door.asCookie(""))
	return c.NoContent(http.StatusNoContent)
}
