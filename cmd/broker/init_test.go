package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/m365-token-broker/broker/internal/config"
)

// The questions: a wrong answer is refused at once with the reason, and asked
// again.
func TestInitAnswers(t *testing.T) {
	var out bytes.Buffer
	o := &options{env: environment{stdin: strings.NewReader("not a tenant\ncontoso.com\n\n12345\n66666666-7777-8888-9999-000000000000\n"), stderr: &out}}
	i := &initiation{o: o, cloud: "global"}
	ask := o.asker()
	if err := i.answer(ask, "Tenant: ", &i.values.Tenant, nil); err != nil {
		t.Fatal(err)
	}
	shown := 0
	if err := i.answer(ask, "Client ID: ", &i.values.ClientID, func() { shown++ }); err != nil {
		t.Fatal(err)
	}
	if i.values.Tenant != "contoso.com" || i.values.ClientID != "66666666-7777-8888-9999-000000000000" || shown != 1 {
		t.Errorf("got %+v, help shown %d times", i.values, shown)
	}
	for _, want := range []string{"cannot stand in a tenant's address", "is not a GUID"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "--tenant") {
		t.Errorf("a person who was asked is told of flags:\n%s", out.String())
	}
	if err := i.answer(ask, "More: ", &i.values.Tenant, nil); err == nil {
		t.Error("the end of the input is an answer")
	}
}

// The commands that register the app are held to Microsoft's names and numbers.
func TestRegistration(t *testing.T) {
	i := &initiation{values: config.InitValues{Tenant: "contoso.com", Cloud: config.CloudGCCHigh}}
	text := i.registration()
	for _, want := range []string{
		"az cloud set --name AzureUSGovernment\n",
		"az login --tenant contoso.com --allow-no-subscriptions\n",
		"--sign-in-audience AzureADMyOrg --is-fallback-public-client true --public-client-redirect-uris http://localhost",
		"az ad app permission add --id CLIENT_ID --api 00000003-0000-0000-c000-000000000000 --api-permissions" +
			" e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope 024d486e-b451-40bb-833d-3e66d98c5c73=Scope" +
			" e383f46e-2787-4529-855e-0e479a3ffac0=Scope 7427e0e9-2fba-42fe-b0c0-848c9e6a8182=Scope\n",
		"az ad app permission add --id CLIENT_ID --api 00000002-0000-0ff1-ce00-000000000000 --api-permissions 3b5f3d61-589b-4a3c-a359-5dd4b5ee5bd5=Scope\n",
		`Connect-MgGraph -Environment USGov -TenantId "contoso.com"`,
		"-IsFallbackPublicClient -PublicClient @{ RedirectUris = @(\"http://localhost\") }",
		`Consent "00000003-0000-0000-c000-000000000000" "User.Read Mail.ReadWrite Mail.Send offline_access"`,
		"Allow public client flows", "Mobile and desktop applications", "1 April 2027",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
