package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
)

// variables is the block that lets a program in and sets its environment.
const variables = "variables"

// client is one recipe for a client of the broker's HTTP API.
type client struct {
	recipe  string
	product string         // what the lock files and the reader call it
	want    *regexp.Regexp // what it must print; nil: a token that Graph takes

	variants []variant
	swaps    []string // pairs of a text and what stands for it here
	// hand says what a consumer needs beside the variables; empty: nothing.
	hand string
}

// variant is a recipe with another credential of the same library.
type variant struct{ name, old, text string }

// What clients print.
var (
	wantName  = regexp.MustCompile(`(?m)^` + userName + `$`)
	wantMe    = regexp.MustCompile(`"displayName": ?"` + userName + `"`)
	wantInbox = regexp.MustCompile(`(?s)^messages: 25\nSandbox message 1\nSandbox message 2\nSandbox message 3\n$`)
)

// credentials are the two by which people use an Azure SDK.
var credentials = []variant{
	{"DefaultAzureCredential", "", ""},
	{"ManagedIdentityCredential", "DefaultAzureCredential", "ManagedIdentityCredential"},
}

// unkeyed is what a consumer without a key needs.
const unkeyed = "dialects.sidecar_unauthenticated=true"

// clients are those that come through HTTP. GRAPH stands for the sandbox's Graph.
func clients() []client {
	return []client{
		{recipe: "azidentity", product: "azidentity", want: wantMe, variants: credentials},
		{recipe: "go-client", product: "client of this repository", want: wantMe},
		{recipe: "go-credential", product: "client of this repository, in azcore", want: wantMe},
		{recipe: "azure-identity", product: "azure-identity", want: wantName, variants: append(credentials[:2:2], variant{
			"ManagedIdentityCredential of an account",
			"DefaultAzureCredential()", `__import__("azure.identity").identity.ManagedIdentityCredential(client_id="` + user + `")`,
		})},
		{
			recipe: "graph-client", product: "@azure/identity", want: wantName, variants: credentials,
			swaps: []string{"{ authProvider }", "{ authProvider, baseUrl: 'GRAPH', customHosts: new Set(['127.0.0.1']) }"},
		},
		{recipe: "graph-client-proxy", product: "@microsoft/microsoft-graph-client", want: wantName},
		{recipe: "exchangelib", product: "exchangelib", want: wantInbox},
		{recipe: "ews-javascript-api", product: "ews-javascript-api", want: wantInbox},
		{recipe: "agents-sidecar", product: "microsoft-agents-authentication-entra-auth-sidecar", want: wantName, hand: unkeyed},
		{recipe: "curl-header", product: "curl", want: wantMe},
		{recipe: "curl-token", product: "curl"},
		{recipe: "curl-proxy", product: "curl", want: wantMe},
		{recipe: "curl-msi", product: "curl"},
		{recipe: "curl-azd", product: "curl"},
		{recipe: "curl-sidecar", product: "curl"},
	}
}

// place writes a recipe where its language finds its libraries, and gives the
// command that runs it.
func (w *world) place(ctx context.Context, b block, text string) ([]string, error) {
	file := func(under, name string) (string, error) {
		dir := filepath.Join(w.install, under)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
		path := filepath.Join(dir, name)
		return path, os.WriteFile(path, []byte(text), 0o600)
	}
	switch b.language {
	case "python":
		path, err := file(filepath.Join("recipes", b.name), "recipe.py") // beside nothing that Python could import
		return []string{filepath.Join(w.install, "python", "bin", "python"), path}, err
	case "javascript":
		path, err := file("node/recipes", b.name+".mjs")
		if err != nil {
			return nil, err
		}
		node, err := filepath.Glob(filepath.Join(w.install, "node/node_modules/node-linux-*/bin/node"))
		if err == nil && len(node) != 1 {
			err = fmt.Errorf("there is not one Node.js in %s but %d", w.install, len(node))
		}
		if err != nil {
			return nil, err
		}
		return []string{node[0], path}, nil
	case "go":
		if _, err := file(filepath.Join("go", b.name), "main.go"); err != nil {
			return nil, err
		}
		return w.build(ctx, b.name)
	case "sh":
		path, err := file("recipes", b.name+".sh")
		return []string{"bash", "-euo", "pipefail", path}, err
	}
	return nil, fmt.Errorf("nothing here runs %s", b.language)
}

// build makes a program of a recipe in the module for them, which scripts/clients/run
// has put beside the package client.
func (w *world) build(ctx context.Context, name string) ([]string, error) {
	program := filepath.Join(w.dir, "bin", name)
	_, stderr, code, err := w.command(ctx, os.Environ(), "", "go", "build", "-C", filepath.Join(w.install, "go"), "-o", program, "./"+name)
	if err == nil && code != 0 {
		err = errors.New(stderr)
	}
	return []string{program}, err
}

// jwt is an access token in a text.
var jwt = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`)

// judge reports what is wrong with what a client printed.
func (w *world) judge(ctx context.Context, c client, stdout string) error {
	if c.want != nil {
		if !c.want.MatchString(stdout) {
			return fmt.Errorf("it printed %q, want %s", stdout, c.want)
		}
		return nil
	}
	token := jwt.FindString(stdout)
	if token == "" {
		return fmt.Errorf("no token in %q", stdout)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.sandbox.GraphURL()+"/v1.0/me", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := w.sandbox.Client().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	me, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && !wantMe.Match(me) {
		err = fmt.Errorf("the sandbox's Graph answers %s to the token", res.Status)
	}
	return err
}
