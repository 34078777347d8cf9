package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/m365-token-broker/broker/internal/account"
	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/entra"
	"github.com/m365-token-broker/broker/internal/token"
)

// This file asks the login host of the tenants and the app registrations that the
// settings and the sign-ins name.

// maxApps bounds how many of them are asked for.
const maxApps = 8

// apps are the app registrations in use, each once, the settings' own first.
func (p *parts) apps() []token.App {
	var all []token.App
	for _, name := range append([]string{""}, p.book.Names()...) {
		if app := p.book.App(name); app.Tenant != "" && !slices.Contains(all, app) && len(all) < maxApps {
			all = append(all, app)
		}
	}
	return all
}

// examineTenants asks for each tenant. It also gives the apps whose tenant there
// is.
func (p *parts) examineTenants(ctx context.Context, host string) (all []check, good []token.App) {
	ctx, cancel := context.WithTimeout(ctx, examineOne)
	defer cancel()
	seen := map[string]bool{}
	for _, app := range p.apps() {
		key := app.Authority + " " + strings.ToLower(app.Tenant)
		if ok, asked := seen[key]; asked {
			if ok {
				good = append(good, app)
			}
			continue
		}
		t, err := p.entra.Discover(ctx, app)
		c := tenantCheck(app.Tenant, host, p.loaded.Config.Cloud, t, err)
		all = append(all, c)
		if seen[key] = c.Result == resultOK; seen[key] {
			good = append(good, app)
		}
	}
	return all, good
}

// instances are how discovery documents call the clouds.
var instances = map[config.Cloud]string{
	config.CloudGlobal: "microsoftonline.com", config.CloudGCCHigh: "microsoftonline.us", config.CloudDoD: "microsoftonline.us",
	config.CloudChina: "partner.microsoftonline.cn",
}

// tenantCheck says what the discovery document of a tenant showed.
func tenantCheck(tenant, host string, cloud config.Cloud, t entra.Tenant, err error) check {
	c := check{Name: nameTenant, Result: resultProblem}
	if err != nil {
		e := token.AsError(err)
		if e.AADSTS == 90002 {
			c.Text, c.Remedy = fmt.Sprintf("There is no tenant %s at %s (AADSTS90002).", tenant, host), "Correct tenant in the configuration: the directory ID or a domain of the tenant; see also cloud."
			return c
		}
		switch c.Text, c.Remedy = divide(e.Detail); e.Kind {
		case token.KindTimeout:
			c.Result, c.Text, c.Remedy = resultWarning, host+" answers, and gave no discovery document of the tenant in time.", "Try again later."
		case token.KindUnavailable, token.KindThrottled:
			c.Result = resultWarning // the host is there, and it passes
		default:
		}
		return c
	}
	for other, name := range instances {
		if t.Cloud == name && name != instances[cloud] {
			c.Text = fmt.Sprintf("The tenant %s lives in another Microsoft cloud (%s) than the setting cloud says (%s).", tenant, t.Cloud, cloud)
			c.Remedy = "Set cloud: " + string(cloudFor(name, other)) + " in the configuration, and register the app there."
			return c
		}
	}
	c.Result, c.Text = resultOK, host+" knows the tenant "+tenant+"."
	return c
}

// cloudFor is the setting for an instance: one of the two that share a name.
func cloudFor(instance string, other config.Cloud) config.Cloud {
	if instance == instances[config.CloudGCCHigh] {
		return config.CloudGCCHigh
	}
	return other
}

// examineRegistrations looks at the app registrations. One that an account works
// with is right; for any other the only way to see is to begin a sign-in, with a
// device code that nobody is shown, and that expires by itself. It costs two
// requests; still it is not done to a broker that works unless somebody asks for it
// by name.
func (p *parts) examineRegistrations(ctx context.Context, only wanted, good []token.App) []check {
	if !only.has(nameRegistration) {
		return nil
	}
	if len(good) == 0 {
		return skipped(later(nameTenant), nameRegistration)
	}
	ctx, cancel := context.WithTimeout(ctx, examineOne)
	defer cancel()
	s := settings(p.watcher.Current().Config)
	var all []check
	for _, app := range good {
		if p.works(app) && !only.byName(nameRegistration) {
			all = append(all, check{Name: nameRegistration, Result: resultOK, Text: "The app registration " + app.ClientID + " is right: an account works with it."})
			continue
		}
		all = append(all, registrationCheck(app, p.entra.CheckRegistration(ctx, app, s.Resources[s.SignIn])))
	}
	return all
}

// works reports whether an account works with app.
func (p *parts) works(app token.App) bool {
	return slices.ContainsFunc(p.book.Views(), func(v account.View) bool {
		return v.State == account.StateOK && p.book.App(v.Name) == app
	})
}

// registrationCheck says what a device code that nobody sees has shown.
func registrationCheck(app token.App, err error) check {
	c := check{Name: nameRegistration, Result: resultOK, Text: "Entra ID gives the app registration " + app.ClientID + " device codes, and takes it as a public client."}
	if err == nil {
		return c
	}
	e := token.AsError(err)
	c.Result = resultProblem
	switch e.AADSTS {
	case 7000218:
		c.Text = fmt.Sprintf("The app registration %s is no public client: a sign-in would fail at its last step (AADSTS7000218).", app.ClientID)
		c.Remedy = `Set "Allow public client flows" to Yes in the app registration, under Authentication.`
	case 70002:
		c.Text = fmt.Sprintf("Entra ID gives the app registration %s no device code (AADSTS70002).", app.ClientID)
		c.Remedy = `Add the platform "Mobile and desktop applications" to the app registration and set "Allow public client flows" to Yes, or sign in with: broker login --flow browser`
	case 700016:
		c.Text = fmt.Sprintf("There is no app registration %s in the tenant %s (AADSTS700016).", app.ClientID, app.Tenant)
		c.Remedy = "Correct client_id in the configuration, or register the app in this tenant; the commands for that prints: broker init"
	default:
		c.Text, c.Remedy = divide(e.Detail)
		if e.Kind == token.KindTimeout {
			c.Text, c.Remedy = "Entra ID did not say in time whether the app registration "+app.ClientID+" is right.", "Try again later."
		}
		if e.Kind != token.KindConfiguration && e.Kind != token.KindPolicyBlocked {
			c.Result = resultWarning // it says nothing of the registration
		}
	}
	return c
}
