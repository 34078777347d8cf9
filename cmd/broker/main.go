// Command broker owns one Microsoft 365 sign-in on this machine and serves
// access tokens to the programs beside it. One file per subcommand; wire.go
// puts the parts together.
package main

import (
	"context"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], thisProcess()))
}

// thisProcess is the environment of this process.
func thisProcess() environment {
	return environment{
		getenv: os.Getenv, environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, exit: os.Exit,
	}
}

// environment is everything a command may know of the process around it.
type environment struct {
	getenv         func(string) string
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	exit           func(code int) // ends the process at once, for a second Ctrl-C
	workFactor     int            // of an export's passphrase; zero: the usual. Tests take less
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	root := newRoot(env)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	report(env.stderr, err)
	return exitCode(err)
}
