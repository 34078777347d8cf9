// Command release makes those parts of a release that have to be the same on
// every machine and that no tool of the machine is asked for: archives, the bill
// of materials, the notices of others, the manual. scripts/release/build calls it.
//
//	release archive FILE.zip|FILE.tar.gz FOLDER   the folder, under its own name
//	release gzip    FILE                          to FILE.gz, and remove FILE
//	release sbom    PROGRAM …                     CycloneDX on standard output
//	release notices PROGRAM …                     the licenses of what is linked in
//	release manual  PROGRAM                       broker.1, from the program's own help
//
// VERSION, COMMIT and SOURCE_DATE_EPOCH are taken from the environment.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is what all parts are made for.
type release struct {
	version string // v1.2.3
	commit  string
	made    time.Time // of the commit
}

func fromEnvironment() (release, error) {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return release{}, errors.New("SOURCE_DATE_EPOCH is not a number of seconds; set it to the commit's time, as scripts/release/run does")
	}
	return release{
		version: cmp.Or(os.Getenv("VERSION"), "v0.0.0"),
		commit:  os.Getenv("COMMIT"),
		made:    time.Unix(seconds, 0).UTC(),
	}, nil
}

func run(args []string, out io.Writer) error {
	r, err := fromEnvironment()
	if err != nil {
		return err
	}
	if len(args) < 2 {
		return errors.New("name a part and its files: archive, gzip, sbom, notices or manual")
	}
	switch part, rest := args[0], args[1:]; {
	case part == "archive" && len(rest) == 2:
		return r.archive(rest[0], rest[1])
	case part == "gzip" && len(rest) == 1:
		return gzipFile(rest[0])
	case part == "sbom":
		return r.sbom(out, rest)
	case part == "notices":
		return r.notices(out, rest)
	case part == "manual" && len(rest) == 1:
		return r.manual(out, rest[0])
	default:
		return fmt.Errorf("there is no part %q with %d files", part, len(rest))
	}
}
