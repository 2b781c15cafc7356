# The two commands of the README are `make demo` and `make test`; each does all the set-up that it needs.
SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
deps := node_modules/.herdsman-deps

.DEFAULT_GOAL := help

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

$(deps): package-lock.json
	@echo "Installing npm packages (needs Node 20 or newer; brings Node 24 along)" >&2
	@npm install --no-save --no-progress --loglevel=error
	@touch $@

deps: $(deps) ## Install the npm packages

demo: $(deps) ## A real Kubernetes, the operator, a sharded PostgreSQL with real data, and a failover under load
	@deploy/demo/run

demo-down: $(deps) ## Take down what the demo made, cluster included
	@deploy/demo/down

test: $(deps) ## Format, lint, types, unit, runtime, PostgreSQL, end to end, and a part of the fault matrix
	@node test/run.ts

unit: $(deps) ## Unit tests only; seconds
	@vitest run --config test/vitest.config.ts --project unit

e2e: $(deps) ## End-to-end tests; one scenario with T=name
	@vitest run --config test/vitest.config.ts --project e2e $(T)

chaos: $(deps) ## The complete fault matrix; one scenario with T=name
	@node test/run.ts chaos $(T)

verify: $(deps) ## Format, lint, types, generated files, unused code
	@test/verify

generate: $(deps) ## Write CRDs, chart and manifests from the API types
	@node src/api/generate.ts

cluster: ## Start the local Kubernetes (NODES=n, default 3)
	@deploy/local/cluster up

cluster-down: ## Stop the local Kubernetes and leave nothing behind
	@deploy/local/cluster down

cluster-status: ## Show the local Kubernetes
	@deploy/local/cluster status

kubeconfig: ## Print the path of the local cluster's kubeconfig
	@deploy/local/cluster kubeconfig

images: $(deps) ## Build the PostgreSQL and the operator image
	@deploy/images/build all

.PHONY: help deps demo demo-down test unit e2e chaos verify generate cluster cluster-down cluster-status kubeconfig images
