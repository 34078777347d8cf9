package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/m365-token-broker/broker/internal/config"
)

// The app IDs and permission IDs of Microsoft's own services; they are the same
// in every tenant. Microsoft Learn: "Microsoft Graph permissions reference" and
// "Authenticate an EWS application by using OAuth".
const (
	graphApp    = "00000003-0000-0000-c000-000000000000"
	exchangeApp = "00000002-0000-0ff1-ce00-000000000000" // Office 365 Exchange Online

	ewsPermission = "3b5f3d61-589b-4a3c-a359-5dd4b5ee5bd5" // EWS.AccessAsUser.All
)

// permission is one delegated permission ("Scope") of Microsoft Graph.
type permission struct{ name, id string }

// graphPermissions are an example: mail for the signed-in user. offline_access
// is what the refresh token comes by.
var graphPermissions = []permission{
	{"User.Read", "e1fe6dd8-ba31-4d61-89e7-88639da4683d"},
	{"Mail.ReadWrite", "024d486e-b451-40bb-833d-3e66d98c5c73"},
	{"Mail.Send", "e383f46e-2787-4529-855e-0e479a3ffac0"},
	{"offline_access", "7427e0e9-2fba-42fe-b0c0-848c9e6a8182"},
}

// toolClouds are the names that the Azure CLI and Microsoft Graph PowerShell
// have for the clouds.
var toolClouds = map[config.Cloud]struct{ az, graph string }{
	config.CloudGCCHigh: {"AzureUSGovernment", "USGov"},
	config.CloudDoD:     {"AzureUSGovernment", "USGovDoD"},
	config.CloudChina:   {"AzureChinaCloud", "China"},
}

// registration is the text that tells how to register the app.
func (i *initiation) registration() string {
	return registerHead + i.azCommands() + "\n" + i.powerShell() + registerTail
}

const registerHead = `Register the app, once per organisation, as an administrator (Application
Administrator or higher). It is a public client of your own, for this organisation
only: no secret, "Allow public client flows" on (device codes need it), and the
redirect http://localhost on the platform "Mobile and desktop applications" (the
browser sign-in needs it). The permissions are delegated: programs get what the
signed-in person may do, at most. Mail is an example; leave out what you do not need.

`

const registerTail = `
EWS: leave the Exchange permission out unless a program still needs it. Exchange
Online has allowed EWS only to apps on the tenant's allow-list since October 2026
(Set-OrganizationConfig -EwsEnabled $true -EwsAllowedAppIDs; the list is replaced as
a whole), and ends EWS for good on 1 April 2027. Prefer Microsoft Graph. Exchange
Server on premises is not affected.
`

// azCommands are for the Azure CLI. Every command is one line without quoting
// that shells disagree about.
func (i *initiation) azCommands() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	id := cmp.Or(i.values.ClientID, "CLIENT_ID")
	say("# Azure CLI (any shell)")
	if cloud, ok := toolClouds[i.values.Cloud]; ok {
		say("az cloud set --name %s", cloud.az)
	}
	say("az login --tenant %s --allow-no-subscriptions", cmp.Or(i.values.Tenant, "TENANT"))
	say(`az ad app create --display-name "M365 Token Broker" --sign-in-audience AzureADMyOrg --is-fallback-public-client true --public-client-redirect-uris http://localhost --query appId --output tsv`)
	if i.values.ClientID == "" {
		say("# It prints the client ID: put it in the place of CLIENT_ID.")
	} else {
		say("# That makes a new app. Where %s exists already, set it right instead:", id)
		say("az ad app update --id %s --sign-in-audience AzureADMyOrg --is-fallback-public-client true --public-client-redirect-uris http://localhost", id)
	}
	var ids, names []string
	for _, p := range graphPermissions {
		ids, names = append(ids, p.id+"=Scope"), append(names, p.name)
	}
	say("# Microsoft Graph: %s", strings.Join(names, ", "))
	say("az ad app permission add --id %s --api %s --api-permissions %s", id, graphApp, strings.Join(ids, " "))
	say("# EWS, if still needed: EWS.AccessAsUser.All of Office 365 Exchange Online")
	say("az ad app permission add --id %s --api %s --api-permissions %s=Scope", id, exchangeApp, ewsPermission)
	say("# Consent for the whole organisation")
	say("az ad sp create --id %s", id)
	say("az ad app permission admin-consent --id %s", id)
	return b.String()
}

// powerShell is for the module Microsoft.Graph.
func (i *initiation) powerShell() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	var names []string
	for _, p := range graphPermissions {
		names = append(names, p.name)
	}
	environment := ""
	if cloud, ok := toolClouds[i.values.Cloud]; ok {
		environment = " -Environment " + cloud.graph
	}
	say("# PowerShell (Install-Module Microsoft.Graph)")
	say(`Connect-MgGraph%s -TenantId "%s" -Scopes "Application.ReadWrite.All", "DelegatedPermissionGrant.ReadWrite.All"`, environment, cmp.Or(i.values.Tenant, "TENANT"))
	say("$graph = @{ ResourceAppId = %q; ResourceAccess = @(", graphApp)
	for _, p := range graphPermissions {
		say("  @{ Id = %q; Type = \"Scope\" } # %s", p.id, p.name)
	}
	say(") }")
	say("# EWS, if still needed; otherwise leave $exchange out here and below")
	say("$exchange = @{ ResourceAppId = %q; ResourceAccess = @(", exchangeApp)
	say("  @{ Id = %q; Type = \"Scope\" } # EWS.AccessAsUser.All", ewsPermission)
	say(") }")
	say(`$app = New-MgApplication -DisplayName "M365 Token Broker" -SignInAudience AzureADMyOrg -IsFallbackPublicClient -PublicClient @{ RedirectUris = @("http://localhost") } -RequiredResourceAccess @($graph, $exchange)`)
	say("$sp = New-MgServicePrincipal -AppId $app.AppId")
	say("# Consent for the whole organisation")
	say("function Consent($service, $scope) {")
	say("  $resource = Get-MgServicePrincipal -Filter \"appId eq '$service'\"")
	say("  New-MgOauth2PermissionGrant -ClientId $sp.Id -ConsentType AllPrincipals -ResourceId $resource.Id -Scope $scope")
	say("}")
	say("Consent %q %q", graphApp, strings.Join(names, " "))
	say("Consent %q \"EWS.AccessAsUser.All\"", exchangeApp)
	say("$app.AppId # the client ID")
	return b.String()
}
