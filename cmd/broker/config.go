package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/m365-token-broker/broker/internal/config"
)

// newConfig is `broker config`.
func newConfig(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check the configuration and show where each setting comes from",
		Example: `  broker config check
  broker config path`,
	}
	onlySubcommands(cmd)
	cmd.AddCommand(newConfigCheck(o), newConfigPath(o))
	return cmd
}

func newConfigCheck(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration as serve would, and print every setting",
		Long: `Read the configuration as serve would: broker.yaml, the drop-ins in conf.d, the
environment, the flags, and on Windows the policy of the machine. Print every setting
in force with the place where it was set, secrets redacted. A setting that mandatory
policy overrules is a warning that names both places. Problems are printed one per
line on standard error, and the exit code is then 1, or 2 where all of them are in
the flags.`,
		Example: `  broker config check
  broker config check --config ./broker.yaml --output json
  broker config check --set listen=127.0.0.1:9000`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			loaded, err := loadConfig(o)
			return showConfig(o, loaded, err, output)
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// checked is what config check prints in JSON.
type checked struct {
	OK         bool             `json:"ok"`
	ConfigFile string           `json:"config_file,omitempty"`
	Files      []string         `json:"files"`
	StateDir   string           `json:"state_dir,omitempty"`
	Settings   []config.Setting `json:"settings"`
	Warnings   []string         `json:"warnings"`
	Problems   []string         `json:"problems"`
}

// showConfig prints what a reading of the settings gave.
func showConfig(o *options, loaded *config.Loaded, err error, output string) error {
	if err == nil {
		err = loaded.Ready()
	}
	problems, ok := errors.AsType[*config.Error](err)
	if err != nil && !ok {
		return err
	}
	c := checked{OK: err == nil, Files: []string{}, Settings: []config.Setting{}, Warnings: []string{}, Problems: []string{}}
	if loaded != nil {
		c.ConfigFile, c.StateDir = loaded.Places.ConfigFile, loaded.Places.StateDir
		c.Files, c.Settings = append(c.Files, loaded.Files...), append(c.Settings, loaded.Explain()...)
		c.Warnings = append(c.Warnings, loaded.Warnings...)
	}
	if problems != nil {
		for _, p := range problems.Problems {
			c.Problems = append(c.Problems, p.String())
		}
	}
	if output == outputJSON {
		err = printJSON(o.env.stdout, c)
	} else {
		err = showChecked(o, c)
	}
	if err == nil && problems != nil {
		return exitError(problemCode(problems))
	}
	return err
}

// problemCode is the exit code for these problems: flags alone are wrong usage.
func problemCode(e *config.Error) int {
	for _, p := range e.Problems {
		if p.Where.Kind != config.FromFlag {
			return exitFailed
		}
	}
	return exitUsage
}

func showChecked(o *options, c checked) error {
	if len(c.Settings) > 0 {
		rows := [][]string{{"SETTING", "VALUE", "SOURCE"}}
		for _, s := range c.Settings {
			rows = append(rows, []string{s.Key, s.Value, s.Source})
		}
		if err := table(o.env.stdout, "", rows); err != nil {
			return err
		}
		fmt.Fprintln(o.env.stdout)
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(o.env.stderr, "warning: %s\n", printable(w))
	}
	for _, p := range c.Problems {
		fmt.Fprintln(o.env.stderr, printable(p))
	}
	if c.OK {
		fmt.Fprintf(o.env.stdout, "The configuration is good. State directory: %s\n", c.StateDir)
	}
	return nil
}

func newConfigPath(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "path",
		Short: "Print where the configuration file is looked for",
		Example: `  broker config path
  broker config path --output json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p, err := places(o)
			if err != nil {
				return err
			}
			if output != outputJSON {
				_, err = fmt.Fprintln(o.env.stdout, p.ConfigFile)
				return err
			}
			_, missing := os.Stat(p.ConfigFile)
			return printJSON(o.env.stdout, struct {
				ConfigFile string `json:"config_file"`
				Exists     bool   `json:"exists"`
				ConfDir    string `json:"conf_dir"`
				StateDir   string `json:"state_dir"`
			}{p.ConfigFile, !errors.Is(missing, fs.ErrNotExist), p.ConfDir, p.StateDir})
		},
	}
	outputFlag(cmd, &output)
	return cmd
}

// places says where the files are without reading any.
func places(o *options) (config.Places, error) {
	return config.Options{ConfigPath: o.config, StateDir: o.stateDir, Environ: o.env.environ}.Places()
}
