package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// The forms in which a token can be printed, besides JSON.
const (
	outputRaw     = "raw"
	outputHeader  = "header"
	outputXOAuth2 = "xoauth2"
	outputAzCLI   = "azcli"
)

// maxValidity is what the API allows for min_validity.
const maxValidity = 24 * time.Hour

// newToken is `broker token`.
func newToken(o *options) *cobra.Command {
	var in httpapi.TokenRequest
	var validity time.Duration
	var output string
	cmd := &cobra.Command{
		Use:   "token --resource R",
		Short: "Print an access token",
		Long: `Print a current access token, from the running broker where there is one.

--output raw      the token and a newline, nothing else
         json     what GET /v1/token answers: token, expiry, scope, account
         header   Authorization: Bearer …
         xoauth2  the SASL XOAUTH2 answer for IMAP, POP and SMTP, in base64
         azcli    what az account get-access-token prints`,
		Example: `  broker token --resource graph
  curl -H "$(broker token --resource graph --output header)" https://graph.microsoft.com/v1.0/me
  broker token --resource ews --account ops --min-validity 30m
  broker token --resource imap --output xoauth2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case in.Resource == "":
				return usagef("--resource is missing; name what the token is for, for example --resource graph")
			case validity < 0 || validity > maxValidity:
				return usagef("--min-validity %v is out of range; it can be 0 to 24h", validity)
			}
			in.MinValidity = int(validity.Seconds())
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				return printToken(ctx, o, a, in, output)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Resource, "resource", "", "name of a configured resource, for example graph or ews (required)")
	f.StringVar(&in.Account, "account", "", "alias or user name; may be left out where there is one account")
	f.DurationVar(&validity, "min-validity", 0, "for how long the token must at least be valid, for example 10m")
	f.BoolVar(&in.ForceRefresh, "force", false, "get a new token even though a valid one is at hand")
	choiceFlag(cmd, &output, "output", "form of what is printed", outputRaw, outputJSON, outputHeader, outputXOAuth2, outputAzCLI)
	complete(cmd, "account", accountNames(o))
	complete(cmd, "resource", resourceNames(o))
	return cmd
}

// printToken gets the token and prints it in the form that was asked for.
func printToken(ctx context.Context, o *options, a *api, in httpapi.TokenRequest, output string) error {
	t, err := a.token(ctx, in)
	if err != nil {
		return err
	}
	switch output {
	case outputJSON:
		return printJSON(o.env.stdout, t)
	case outputHeader:
		_, err = fmt.Fprintf(o.env.stdout, "Authorization: Bearer %s\n", t.AccessToken)
	case outputXOAuth2, outputAzCLI:
		acc, failed := a.account(ctx, t.Account)
		if failed != nil {
			return failed
		}
		if output == outputAzCLI {
			return printJSON(o.env.stdout, asAzCLI(t, acc.Tenant))
		}
		_, err = fmt.Fprintln(o.env.stdout, xoauth2(acc.Username, t.AccessToken))
	default:
		_, err = fmt.Fprintln(o.env.stdout, t.AccessToken)
	}
	return err
}

// xoauth2 is the initial client response of SASL XOAUTH2 (Microsoft Learn,
// "Authenticate an IMAP, POP or SMTP connection using OAuth").
func xoauth2(user, accessToken string) string {
	return base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + accessToken + "\x01\x01"))
}

// azCLIToken is what az account get-access-token prints: expiresOn in local
// time, expires_on in seconds since 1970 (Microsoft Learn, "Azure CLI, Refresh
// tokens"). There is no subscription here.
type azCLIToken struct {
	AccessToken  string `json:"accessToken"`
	LocalExpiry  string `json:"expiresOn"`
	ExpiresOn    int64  `json:"expires_on"`
	Subscription string `json:"subscription"`
	Tenant       string `json:"tenant"`
	TokenType    string `json:"tokenType"`
}

func asAzCLI(t httpapi.Token, tenant string) azCLIToken {
	return azCLIToken{
		AccessToken: t.AccessToken,
		LocalExpiry: time.Unix(t.ExpiresOn, 0).Format("2006-01-02 15:04:05.000000"),
		ExpiresOn:   t.ExpiresOn,
		Tenant:      tenant,
		TokenType:   string(t.TokenType),
	}
}
