package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

	"github.com/m365-token-broker/broker/internal/config"
	"github.com/m365-token-broker/broker/internal/httpapi"
)

// checkConsumer refuses what makes no sense before the broker is asked, makes
// paths absolute, and hashes the program where that is wanted.
func checkConsumer(in *httpapi.ConsumerRequest) error {
	switch {
	case !config.ValidName(in.Name):
		return usagef("%q cannot be the name of a consumer; use at most 64 lower-case letters, digits, dots, hyphens and underscores, a letter or digit first", in.Name)
	case len(in.Accounts) == 0 && len(in.Resources) == 0 && (in.Metrics || len(in.Mapi) > 0):
	case len(in.Accounts) == 0:
		return usagef("--account is missing; name the account that %s may use", in.Name)
	case len(in.Resources) == 0:
		return usagef("--resource is missing; name what %s may have tokens for, for example --resource graph", in.Name)
	}
	if err := checkSink(in); err != nil {
		return err
	}
	for flag, path := range map[string]*string{"executable": &in.Executable, "sink": &in.Sink} {
		if *path == "" {
			continue
		}
		full, err := filepath.Abs(*path)
		if err != nil {
			return usagef("--%s %s: give an absolute path", flag, *path)
		}
		*path = full
	}
	return hashExecutable(in)
}

func checkSink(in *httpapi.ConsumerRequest) error {
	switch {
	case in.SinkFormat != "" && in.Sink == "":
		return usagef("--format goes with --sink, which names the file")
	case in.Sink == "":
		return nil
	case len(in.Accounts) != 1 || len(in.Resources) != 1:
		return usagef("--sink holds one token; give %s exactly one --account and one --resource", in.Name)
	}
	switch config.SinkFormat(in.SinkFormat) {
	case "", config.SinkRaw, config.SinkJSON, config.SinkHeader:
		return nil
	default:
		return usagef("--format %s: it is raw, json or header", in.SinkFormat)
	}
}

// hashExecutable finds the SHA-256 of the program as it is now, for --sha256 auto.
func hashExecutable(in *httpapi.ConsumerRequest) error {
	if in.Sha256 != "auto" {
		return nil
	}
	if in.Executable == "" {
		return usagef("--sha256 auto hashes the file of --executable; name it too")
	}
	f, err := os.Open(in.Executable)
	if err != nil {
		return usagef("--executable %s cannot be read, so --sha256 auto cannot hash it: %v", in.Executable, err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return usagef("--executable %s cannot be read, so --sha256 auto cannot hash it: %v", in.Executable, err)
	}
	in.Sha256 = hex.EncodeToString(h.Sum(nil))
	return nil
}
