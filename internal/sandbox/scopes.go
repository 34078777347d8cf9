package sandbox

import (
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/token"
)

// The audiences of the sandbox's own resources.
const (
	audienceGraph   = "https://graph.microsoft.com"
	audienceOutlook = "https://outlook.office365.com"
)

// granted is what ".default" stands for, by audience: the permissions that the
// sandbox's app registration has consent for. National clouds are here too, so
// that a configuration for one can be tried; every other resource is unknown.
var granted = map[string][]string{
	audienceGraph:                             {"Mail.ReadWrite", "Mail.Send", "User.Read"},
	"https://graph.microsoft.us":              {"Mail.ReadWrite", "Mail.Send", "User.Read"},
	"https://dod-graph.microsoft.us":          {"Mail.ReadWrite", "Mail.Send", "User.Read"},
	"https://microsoftgraph.chinacloudapi.cn": {"Mail.ReadWrite", "Mail.Send", "User.Read"},
	audienceOutlook:                           {"EWS.AccessAsUser.All"},
	"https://outlook.office.com":              {"IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send"},
	"https://outlook.office365.us":            {"EWS.AccessAsUser.All"},
	"https://outlook-dod.office365.us":        {"EWS.AccessAsUser.All"},
	"https://partner.outlook.cn":              {"EWS.AccessAsUser.All"},
}

// scopeRequest is the scope parameter, understood.
type scopeRequest struct {
	raw         string
	audience    string
	permissions []string // of the access token's "scp"
	asked       []string // as the client wrote them; echoed in the answer
	openID      bool     // an ID token is wanted
	offline     bool     // a refresh token is wanted
}

// parseScopes understands a scope parameter the way Entra does: the scopes of
// one resource, with OpenID Connect's own beside them.
func parseScopes(scope string) (scopeRequest, *oauthError) {
	q := scopeRequest{raw: scope}
	all := false
	for sc := range strings.FieldsSeq(scope) {
		switch strings.ToLower(sc) {
		case "openid":
			q.openID = true
			q.asked = append(q.asked, sc)
			continue
		case "profile", "email":
			q.asked = append(q.asked, sc)
			continue
		case "offline_access": // never echoed
			q.offline = true
			continue
		}
		audience := strings.ToLower(strings.TrimRight(token.Audience(sc), "/"))
		if q.audience != "" && audience != q.audience {
			return q, new(errTwoResources)
		}
		q.audience = audience
		q.asked = append(q.asked, sc)
		name := sc[strings.LastIndexByte(sc, '/')+1:]
		if name == "" {
			return q, new(errBadScope)
		}
		if strings.EqualFold(name, ".default") {
			all = true
			continue
		}
		q.permissions = append(q.permissions, name)
	}
	if q.audience == "" { // OpenID Connect alone is a token for Graph
		q.audience = audienceGraph
	}
	consented, ok := granted[q.audience]
	switch {
	case !ok:
		return q, new(errNoResource)
	case all && len(q.permissions) > 0:
		return q, new(errBadScope)
	case all:
		q.permissions = consented
		for _, p := range consented {
			q.asked = append(q.asked, q.audience+"/"+p)
		}
	}
	return q, nil
}

// scope is the "scope" of the answer: what was asked for, which is granted.
func (q scopeRequest) scope() string {
	return strings.Join(slices.Compact(slices.Clone(q.asked)), " ")
}
