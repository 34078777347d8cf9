package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/lifecycle"
	"github.com/m365-token-broker/broker/internal/ownerfile"
	"github.com/m365-token-broker/broker/internal/sandbox"
)

// sandboxFlags is what `broker sandbox` can be told.
type sandboxFlags struct {
	config  sandbox.Config
	write   string
	verbose bool
}

// newSandbox is `broker sandbox`.
func newSandbox(o *options) *cobra.Command {
	f := &sandboxFlags{}
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "Run a stand-in for Microsoft Entra ID, Graph and EWS, for tests",
		Long: `Run a stand-in for Microsoft Entra ID, Microsoft Graph and EWS on loopback TLS,
until Ctrl-C, and print the configuration to use against it.

It has a throw-away certificate authority and keeps everything in memory. A
broker uses it only where its configuration names it as the authority. Every
failure of the real service can be asked for; see broker sandbox scenarios.`,
		Example: `  broker sandbox --write ./box --auto-approve
  broker serve --config ./box/broker.yaml --state-dir ./box/state

  # in another shell, let the next three token requests fail
  curl --cacert ./box/ca.pem -H "X-Sandbox-Key: $(cat ./box/control.key)" \
       -d '{"scenario":"throttled","count":3}' https://127.0.0.1:PORT/sandbox/faults`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runSandbox(cmd.Context(), o, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config.Listen, "listen", "127.0.0.1:0", "loopback `address` and port; port 0 is any free one")
	flags.BoolVar(&f.config.AutoApprove, "auto-approve", false, "approve every sign-in at once, as alice@contoso.example")
	flags.StringVar(&f.write, "write", "", "write broker.yaml, ca.pem and control.key into this `directory`")
	flags.DurationVar(&f.config.AccessTokenLifetime, "token-lifetime", 0, "lifetime of access tokens (default 60 to 90 min)")
	flags.DurationVar(&f.config.RefreshIn, "refresh-in", 0, "send refresh_in with this time")
	flags.DurationVar(&f.config.Interval, "interval", time.Second, "polling interval of device codes")
	flags.DurationVar(&f.config.DeviceCodeLifetime, "code-lifetime", 15*time.Minute, "lifetime of device codes")
	flags.BoolVar(&f.config.RevokeUsed, "revoke-used", false, "refuse a refresh token that was used before (stricter than Entra ID)")
	flags.DurationVar(&f.config.Latency, "latency", 0, "added to every answer")
	flags.BoolVar(&f.config.Canary, "canary", false, "put the text CANARY into every token and code, to search for leaks")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log every request")
	cmd.AddCommand(newScenarios(o))
	return cmd
}

// newScenarios is `broker sandbox scenarios`.
func newScenarios(o *options) *cobra.Command {
	return &cobra.Command{
		Use:     "scenarios",
		Short:   "List the failures that the sandbox can play",
		Example: "  broker sandbox scenarios",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			w := tabwriter.NewWriter(o.env.stdout, 0, 0, 2, ' ', 0)
			for _, s := range sandbox.Scenarios() {
				fmt.Fprintf(w, "%s\t%s\n", s.Name, s.Text)
			}
			return w.Flush()
		},
	}
}

// runSandbox keeps the sandbox running until a signal.
func runSandbox(ctx context.Context, o *options, f *sandboxFlags) error {
	ctx, stop := lifecycle.Signals(ctx, o.env.exit)
	defer stop()
	if f.verbose {
		f.config.Log = slog.New(slog.NewTextHandler(o.env.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	sb, err := sandbox.Start(ctx, f.config)
	if err != nil {
		return err
	}
	defer func() { _ = sb.Close() }()
	caFile := "<the file with the certificate below>"
	if f.write != "" {
		if caFile, err = writeSandbox(sb, f.write); err != nil {
			return err
		}
	}
	describeSandbox(o.env.stdout, sb, caFile, f.write)
	<-ctx.Done()
	return nil
}

// writeSandbox writes the files to use against the sandbox, and returns the path
// of the certificate.
func writeSandbox(sb *sandbox.Sandbox, dir string) (caFile string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the directory: %w", err)
	}
	caFile = filepath.Join(dir, "ca.pem")
	files := map[string][]byte{
		caFile:                            sb.CAPEM(),
		filepath.Join(dir, "broker.yaml"): []byte(sb.ConfigYAML(caFile)),
		filepath.Join(dir, "control.key"): []byte(sb.ControlKey() + "\n"),
	}
	for path, data := range files {
		if err := ownerfile.Write(path, data); err != nil {
			return "", fmt.Errorf("write %s: %w", path, err)
		}
	}
	return caFile, nil
}

// describeSandbox says how to use the sandbox.
func describeSandbox(w io.Writer, sb *sandbox.Sandbox, caFile, dir string) {
	fmt.Fprintf(w, "Sandbox at %s (nothing here is real; it ends with this command).\n\n", sb.URL())
	fmt.Fprintf(w, "Users:\n")
	for _, u := range sb.Users() {
		fmt.Fprintf(w, "  %s\n", u.Username)
	}
	if dir != "" {
		fmt.Fprintf(w, "\nWritten to %s: broker.yaml, ca.pem, control.key. Use it with:\n\n  broker serve --config %s --state-dir %s\n",
			dir, filepath.Join(dir, "broker.yaml"), filepath.Join(dir, "state"))
	} else {
		fmt.Fprintf(w, "\nControl key: %s\n\n# broker.yaml\n%s\n%s", sb.ControlKey(), sb.ConfigYAML(caFile), sb.CAPEM())
	}
	fmt.Fprintf(w, "\nready\n")
}
