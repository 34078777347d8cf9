package httpapi

import (
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/consumer"
	"github.com/m365-token-broker/broker/internal/token"
)

// fakeNames knows graph and ews, and two accounts.
type fakeNames struct{}

func (fakeNames) Resource(_ *consumer.Identity, texts ...string) (string, error) {
	known := map[string][]string{
		"graph": {"graph", "https://graph.microsoft.com", "https://graph.microsoft.com/", "https://graph.microsoft.com/.default"},
		"ews":   {"ews", "https://outlook.office365.com", "https://outlook.office365.com/EWS.AccessAsUser.All"},
	}
	for name, all := range known {
		if len(texts) > 0 && !slices.ContainsFunc(texts, func(t string) bool { return !slices.Contains(all, t) }) {
			return name, nil
		}
	}
	return "", token.NewError(token.KindUnknownResource, "", "There is no such resource; you may ask for: graph (https://graph.microsoft.com).")
}

func (fakeNames) Account(_ *consumer.Identity, text string) (string, error) {
	switch text {
	case "", "ops", "bob":
		return text, nil
	case "ops@contoso.com", testApp:
		return "ops", nil
	}
	return "", token.NewError(token.KindUnknownAccount, "", "There is no account of this name; broker accounts lists them.")
}

const (
	testApp    = "66666666-7777-8888-9999-000000000000"
	testTenant = "11111111-2222-3333-4444-555555555555"
)

func (fakeNames) ClientID(string) string { return testApp }

func (fakeNames) InTenant(_, tenant string) bool { return strings.EqualFold(tenant, testTenant) }
