package main

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/httpapi"
	"github.com/m365-token-broker/broker/internal/mapiadapter/mapiprobe"
)

// newMapiReport is `broker mapi report`.
func newMapiReport(o *options) *cobra.Command {
	var in httpapi.MapiReport
	var hresult, output string
	cmd := &cobra.Command{
		Use:   "report TARGET --hresult 0x8004011D | --ok",
		Short: "Tell the broker what MAPI said to a program",
		Long: `Tell the broker what MAPI said: for programs that cannot call its API themselves,
and to try it out. An authentication error lets the broker renew at once; a success
proves that the access is fresh. Errors that renewing cannot heal are only noted.`,
		Example: `  broker mapi report archive --hresult 0x8004011D --operation OpenMsgStore
  broker mapi report archive --ok`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: targetNames(o),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkReport(&in, hresult, cmd.Flags().Changed("operation")); err != nil {
				return err
			}
			return withRunning(cmd, o, func(ctx context.Context, a *api) error {
				t, err := a.reportTarget(ctx, args[0], in)
				if err != nil {
					return err
				}
				return printTarget(o, t, output, "Noted. ")
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&hresult, "hresult", "", "the `error` that MAPI gave, as 0x8004011D or as a number")
	f.StringVar(&in.Operation, "operation", "", "the MAPI call that failed, for the history")
	f.BoolVar(&in.Ok, "ok", false, "the mailbox could be opened")
	outputFlag(cmd, &output)
	return cmd
}

// checkReport refuses what makes no sense before the broker is asked.
func checkReport(in *httpapi.MapiReport, hresult string, named bool) error {
	switch {
	case in.Ok && hresult != "":
		return usagef("--ok and --hresult exclude each other; give one of them")
	case in.Ok:
		return nil
	case hresult == "":
		return usagef("--hresult is missing; give the error that MAPI gave, for example --hresult 0x8004011D, or --ok")
	case named && in.Operation == "":
		return usagef("--operation is empty; name the MAPI call that failed, or leave it out")
	}
	hr, err := mapiprobe.ParseHResult(hresult)
	if err != nil {
		return usagef("--hresult %w", err)
	}
	in.Hresult, err = json.Marshal(mapiprobe.FormatHResult(hr))
	return err
}
