# Everything a contributor or CI does, by name. `make` lists the targets.

MODULES := proto migrations pkg services/ingest services/delivery services/monitor services/beaconpost e2e
PACKAGES := $(MODULES:%=./%/...)
# Apart from the workspace, like the tools: Helm, BuildKit and Kubernetes' types must not choose the versions of what runs.
APART := deploy
BINARIES := $(wildcard services/*/cmd/*)
TOOLS := bin/tools/golangci-lint bin/tools/buf bin/tools/protoc-gen-go bin/tools/nats-server
# Only for test-k8s: large, and long to build.
KUBERNETES := bin/tools/etcd bin/tools/kube-apiserver bin/tools/kube-controller-manager bin/tools/kube-scheduler bin/tools/helm

VERSION ?= $(shell git describe --tags --match 'v*' --always --dirty 2>/dev/null || echo dev)
# Extra flags for go test (`make test GOTEST='-run TestReconcile -v'`) and for the program (`make run ARGS='--help'`).
GOTEST ?=
ARGS ?=
TEST_TIMEOUT ?= 30m
# Most tests wait: for slots, retries, restarts. More of them at a time than there are processors take half as long.
TEST_PARALLEL ?= 4
FUZZTIME ?= 10s

MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install what running needs and is missing (Postgres; Go is only checked)
	@scripts/deps.sh postgres

.PHONY: deps-test
deps-test: ## The same for the tests (adds Node.js, for the other-language receivers, Prometheus, and ip where a test may use it)
	@scripts/deps.sh postgres node prometheus $$([ "$$(uname) $$(id -u)" != 'Linux 0' ] || echo ip)

.PHONY: build
build: ## Build all binaries into ./bin
	@scripts/deps.sh
	go build -ldflags '-X main.version=$(VERSION)' -o bin/ $(BINARIES:%=./%)

# The program gets Ctrl-C from the terminal like make does, so make only has to wait for it. exec leaves no shell between.
.PHONY: run
run: deps build ## Run the whole of Beaconpost on this machine (ARGS='…' for options)
	@exec ./bin/beaconpost up $(ARGS)

.PHONY: test
test: deps-test ## Run all tests (GOTEST='-run X' for go test's options)
	go test -count=1 -parallel $(TEST_PARALLEL) -timeout $(TEST_TIMEOUT) $(GOTEST) $(PACKAGES)
	@$(MAKE) test-deploy

.PHONY: test-deploy
test-deploy: ## Test the image and the Helm chart only
	@scripts/deps.sh
	cd $(APART) && GOWORK=off go test -count=1 -timeout $(TEST_TIMEOUT) $(GOTEST) ./...

# Not part of test: it needs root, and minutes for programs that nothing else needs.
.PHONY: test-k8s
test-k8s: $(KUBERNETES) bin/tools/nats-server ## Install the Helm chart into a real Kubernetes API server (as root; builds Kubernetes first)
	@scripts/deps.sh postgres
	cd deploy && GOWORK=off go test -count=1 -tags kubernetes -timeout $(TEST_TIMEOUT) -run '^TestKubernetes$$' -v $(GOTEST) .

.PHONY: image
image: ## Build the container image (needs Docker or another BuildKit)
	docker buildx build --load --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) --tag ghcr.io/beaconpost/beaconpost:$(VERSION) .

.PHONY: race
race: deps-test ## Run all tests with the race detector (needs a C compiler)
	@scripts/deps.sh cc
	CGO_ENABLED=1 go test -race -count=1 -timeout $(TEST_TIMEOUT) $(GOTEST) $(PACKAGES)

.PHONY: bench
bench: deps bin/bench ## Measure the whole system beside its parts, about six minutes (docs/benchmarks.md)
	@bin/bench full

.PHONY: bench-smoke
bench-smoke: deps bin/bench ## The same in under a minute: that it works, not how fast
	@bin/bench smoke

.PHONY: bench-scale
bench-scale: deps bin/bench ## With ten million past events, ten thousand tenants, and replicas (fifteen minutes, 20 GB of disk)
	@bin/bench scale

.PHONY: bench-soak
bench-soak: deps bin/bench ## Five minutes at 80 % of the maximum: memory and goroutines
	@bin/bench soak

.PHONY: bench-fairness
bench-fairness: deps bin/bench ## What endpoints that hang, and a tenant with a million queued events, mean for others (five minutes)
	@bin/bench fairness

.PHONY: bench-monitors
bench-monitors: deps bin/bench ## 1,000, 10,000 and 100,000 monitors: is every check made, and when (fifteen minutes)
	@bin/bench monitors

.PHONY: bench-tracing
bench-tracing: deps bin/bench ## What tracing costs: off, 1 % of traces, all (six minutes)
	@bin/bench tracing

.PHONY: bench-costs
bench-costs: deps bin/bench ## What a million events cost, at 50 events/s and at more (four minutes)
	@bin/bench costs

.PHONY: game-day
game-day: deps bin/gameday ## Break a running system on purpose: which alerts and panels show it (an hour; ARGS=-write for the docs)
	@scripts/deps.sh prometheus
	@bin/gameday $(ARGS)

.PHONY: cluster-test
cluster-test: deps bin/cluster ## Three machines, NATS in a cluster, rolling restarts and worse (root on Linux; FROM=<commit> for an upgrade; a quarter of an hour)
	@scripts/deps.sh ip
	@bin/cluster $(if $(findstring smoke,$(ARGS)),smoke) $(if $(FROM),-from $(FROM)) $(filter-out smoke,$(ARGS))

.PHONY: bench-go
bench-go: deps-test ## Run the Go benchmarks of the packages
	go test -run '^$$' -bench . -benchmem -timeout $(TEST_TIMEOUT) $(GOTEST) $(PACKAGES)

.PHONY: bin/bench
bin/bench:
	@scripts/deps.sh
	go build -o bin/bench ./e2e/cmd/bench

.PHONY: bin/cluster
bin/cluster:
	@scripts/deps.sh
	go build -o bin/cluster ./e2e/cmd/cluster

.PHONY: bin/gameday
bin/gameday:
	@scripts/deps.sh
	go build -o bin/gameday ./e2e/cmd/gameday

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME each (FUZZTIME=1m)
	@scripts/deps.sh
	@MODULES='$(MODULES)' FUZZTIME='$(FUZZTIME)' scripts/fuzz.sh

.PHONY: lint
lint: bin/tools/golangci-lint bin/tools/buf ## Lint Go (golangci-lint, with the layering rules) and protobuf (buf)
	bin/tools/buf lint
	bin/tools/golangci-lint run --allow-parallel-runners $(PACKAGES)
	cd $(APART) && GOWORK=off ../bin/tools/golangci-lint run --allow-parallel-runners ./...

.PHONY: generate
generate: bin/tools/buf bin/tools/protoc-gen-go ## Write generated code again
	bin/tools/buf generate
	go generate $(PACKAGES)
	cd $(APART) && GOWORK=off go generate ./...

.PHONY: verify
verify: bin/tools/buf bin/tools/protoc-gen-go ## Fail if generated code, go.mod files or formatting are stale, or a message changed incompatibly
	@MODULES='$(MODULES) $(APART)' scripts/verify.sh

# vet compiles what a package imports and checks its types, tests included. Only linking is left out, which scripts/image.sh does without the workspace too.
.PHONY: boundaries
boundaries: ## Compile and vet each module alone, with nothing but what its go.mod names
	@set -e; for module in $(MODULES) $(APART); do \
		echo "boundaries: $$module"; \
		(cd $$module && GOWORK=off go vet -tags kubernetes ./...); \
	done

.PHONY: tools
tools: $(TOOLS) ## Build the pinned tools into ./bin/tools

.PHONY: clean
clean: ## Remove ./bin (never ./data)
	rm -rf bin

# Tools are Go programs pinned in tools/go.mod, apart from the workspace. buf has a module of its own: it requires a newer
# protobuf than the release that protoc-gen-go is pinned to. Kubernetes has one too: nobody has to fetch it who does not run test-k8s.
bin/tools/golangci-lint: PACKAGE := github.com/golangci/golangci-lint/v2/cmd/golangci-lint
bin/tools/protoc-gen-go: PACKAGE := google.golang.org/protobuf/cmd/protoc-gen-go
bin/tools/nats-server: PACKAGE := github.com/nats-io/nats-server/v2
bin/tools/buf: PACKAGE := github.com/bufbuild/buf/cmd/buf
bin/tools/etcd: PACKAGE := go.etcd.io/etcd/server/v3
bin/tools/kube-apiserver: PACKAGE := k8s.io/kubernetes/cmd/kube-apiserver
bin/tools/kube-controller-manager: PACKAGE := k8s.io/kubernetes/cmd/kube-controller-manager
bin/tools/kube-scheduler: PACKAGE := k8s.io/kubernetes/cmd/kube-scheduler
bin/tools/helm: PACKAGE := helm.sh/helm/v4/cmd/helm

bin/tools/golangci-lint bin/tools/protoc-gen-go bin/tools/nats-server: tools/go.mod
bin/tools/buf: tools/buf/go.mod
$(KUBERNETES): tools/kubernetes/go.mod

# Kubernetes says its version, which charts ask for, only if it is told by whoever builds it.
KUBERNETES_VERSION = $(firstword $(shell sed -n 's/^.k8s.io\/kubernetes v/v/p' tools/kubernetes/go.mod))
KUBERNETES_MINOR = $(word 2,$(subst ., ,$(KUBERNETES_VERSION)))
$(KUBERNETES): BUILD = -trimpath -ldflags '-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES_VERSION) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(KUBERNETES_MINOR)'

$(TOOLS) $(KUBERNETES):
	@scripts/deps.sh
	cd $(<D) && GOWORK=off go build $(BUILD) -o '$(CURDIR)/$@' $(PACKAGE)
