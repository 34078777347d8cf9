# Each target is one line that can be typed by hand where there is no make.
.DEFAULT_GOAL := help
.PHONY: help build build-windows test race cover fuzz bench load lint vet generate demo clients independent-provider outlook secret-service wine release package fast ci

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 24

build: ## bin/broker for this machine
	go build -trimpath -o bin/ ./cmd/broker

build-windows: ## bin/broker.exe for Windows
	GOOS=windows GOARCH=amd64 go build -trimpath -o bin/ ./cmd/broker

test: ## all tests
	go test ./...

race: ## all tests with the race detector
	go test -race ./...

cover: ## all tests with coverage, as a page
	go test -coverprofile=coverage.out -coverpkg=./internal/...,./cmd/... ./... && go tool cover -html=coverage.out -o coverage.html

fuzz: ## every fuzz target for FUZZTIME (3s) each
	.ci/run fuzz

bench: ## every benchmark
	go test -run '^$$' -bench . ./...

load: ## GET /v1/token against a bare echo handler, see docs/performance.md
	go run ./bench/load

lint: ## golangci-lint for Linux and Windows
	scripts/lint

vet: ## go vet for Linux and Windows
	go vet ./... && GOOS=windows go vet ./...

generate: ## the server from openapi/broker.yaml
	go generate ./...

demo: ## the whole story on the built-in sandbox
	go run ./cmd/broker demo

clients: ## official SDKs and tools against the sandbox, by docs/consumers.md
	scripts/clients/run

independent-provider: ## the journey against an OpenID provider that is not ours
	scripts/independent-provider/run

outlook: ## broker and agent over a scripted desktop, killed in every phase
	.ci/run outlook

secret-service: ## the Secret Service store against a real one
	scripts/secret-service-test

wine: ## the Windows build under Wine
	scripts/wine-test

release: ## every file of a release in dist/, from the last commit; VERSION=v1.2.3 names it
	scripts/release/run $(VERSION)

package: ## two releases compared; deb, unit and signature tried out
	.ci/run package

fast: ## what to run before a commit
	.ci/run fast

ci: ## everything CI runs
	.ci/run
