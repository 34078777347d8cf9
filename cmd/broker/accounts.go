package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
)

// newAccounts is `broker accounts`.
func newAccounts(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "accounts",
		Short: "List the accounts with their state and ages",
		Long: `List the accounts that are signed in on this machine, and those that the
configuration names.

STATE is ok, degraded (tokens are served, but renewing them fails at the moment) or
sign_in_required (run broker login). TOKEN AGE is the age of the refresh token that
is in use. ENDS is when the sign-in ends by itself: after 90 days in which nobody
uses it, which a running broker prevents, or sooner where the tenant was seen to ask
for a new sign-in every so often; below the table it says how often. RESOURCES shows
how long the current access tokens are valid.`,
		Example: `  broker accounts
  broker accounts --output json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withAPI(cmd, o, func(ctx context.Context, a *api) error {
				list, err := a.accounts(ctx)
				if err != nil {
					return err
				}
				if output == outputJSON {
					return printJSON(o.env.stdout, httpapi.AccountList{Accounts: list})
				}
				if len(list) == 0 {
					fmt.Fprintln(o.env.stdout, "No account is signed in; run `broker login`.")
					return nil
				}
				return showAccounts(o.env.stdout, "", time.Now(), list)
			})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// showAccounts writes one row per account, and beneath what is wrong with any.
func showAccounts(w io.Writer, prefix string, now time.Time, list []httpapi.Account) error {
	rows := [][]string{{"ACCOUNT", "USER", "STATE", "SIGNED IN", "LAST REFRESH", "TOKEN AGE", "ENDS", "RESOURCES"}}
	for _, a := range list {
		age := ""
		if !a.RefreshTokenAt.IsZero() {
			age = span(now.Sub(a.RefreshTokenAt))
		}
		rows = append(rows, []string{
			a.Account, a.Username, string(a.State), since(now, a.SignedInAt), since(now, a.LastRefreshAt),
			age, until(now, a.PredictedEndAt), validities(now, a.Resources),
		})
	}
	if err := table(w, prefix, rows); err != nil {
		return err
	}
	for _, a := range list {
		if a.Problem.Code != "" {
			fmt.Fprintf(w, "%s%s: %s%s\n", prefix, printable(a.Account), printable(a.Problem.Detail), retry(now, a.NextTryAt))
		}
		if s := frequencyOf(now, a); s != "" {
			fmt.Fprintf(w, "%s%s: %s\n", prefix, printable(a.Account), s)
		}
		if isSignedIn(a) && !a.Persisted {
			fmt.Fprintf(w, "%s%s: the current refresh token is not in the secret store yet.\n", prefix, printable(a.Account))
		}
	}
	return nil
}

// frequencyOf says how often the tenant asks for a new sign-in, "" where that was
// not learned.
func frequencyOf(now time.Time, a httpapi.Account) string {
	if a.SignInFrequencySeconds == 0 {
		return ""
	}
	learned := "learned once"
	if a.SignInFrequencyLearned > 1 {
		learned = fmt.Sprintf("learned %d times", a.SignInFrequencyLearned)
	}
	s := fmt.Sprintf("about every %s the tenant asks for a new sign-in (%s)", span(time.Duration(a.SignInFrequencySeconds)*time.Second), learned)
	switch by := a.PredictedEndAt; {
	case a.PredictedEndReason != httpapi.EndReasonSignInFrequency:
		return s + "."
	case !by.After(now):
		return s + "; the next time is now."
	default:
		return s + "; the next time is about " + by.Local().Format("2 Jan 15:04") + "."
	}
}

// isSignedIn reports whether somebody has signed in to the account here; one
// that only the configuration names has no sign-in. It may have ended since, see
// the account's state.
func isSignedIn(a httpapi.Account) bool { return !a.SignedInAt.IsZero() }

// retry says when the broker tries again by itself, "" where it does not. It is
// next_try_at and not the problem's retry_after, which is advice to callers, as
// old as the problem.
func retry(now, next time.Time) string {
	switch {
	case next.IsZero():
		return ""
	case !next.After(now):
		return " The broker tries again now."
	default:
		return fmt.Sprintf(" The broker tries again %s.", until(now, next))
	}
}

// validities is "graph 54 min, ews over".
func validities(now time.Time, list []httpapi.AccountResource) string {
	var all []string
	for _, r := range list {
		s := r.Resource
		if expires := epoch(r.ExpiresOn); !expires.IsZero() {
			s += " " + strings.TrimPrefix(until(now, expires), "in ")
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}
