package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// What a packager who builds without the repository sets at link time:
// go build -ldflags "-X main.linkedVersion=v1.2.3 -X main.linkedCommit=abcdef".
// Everybody else leaves them empty: the Go toolchain stamps all by itself.
var (
	linkedVersion = ""
	linkedCommit  = ""
	linkedTime    = ""
)

// build is what is known of this binary.
type build struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a tree with changes that are not committed
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readBuild asks the linker's variables first, then the toolchain's stamp.
func readBuild() build {
	b := build{Version: linkedVersion, Commit: linkedCommit, Time: linkedTime, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		b.Version = cmp.Or(b.Version, "devel")
		return b
	}
	b.Version = cmp.Or(b.Version, strings.Trim(info.Main.Version, "()"), "devel")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = cmp.Or(b.Commit, s.Value)
		case "vcs.time":
			b.Time = cmp.Or(b.Time, s.Value)
		case "vcs.modified":
			b.Modified = s.Value == "true" && linkedCommit == ""
		}
	}
	return b
}

// version is this binary's version, for logs, the lock and the API.
func version() string { return readBuild().Version }

// commit is the commit that this binary was built from, "" where it is not known.
func commit() string { return readBuild().Commit }

// newVersion is `broker version`.
func newVersion(o *options) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit and the platform",
		Example: `  broker version
  broker version --output json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if output == outputJSON {
				return printJSON(o.env.stdout, b)
			}
			commit := cmp.Or(b.Commit, "unknown")
			if b.Modified {
				commit += " (with local changes)"
			}
			_, err := fmt.Fprintf(o.env.stdout, "broker %s\ncommit   %s\ngo       %s\nplatform %s\n", b.Version, commit, b.Go, b.Platform)
			return err
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
