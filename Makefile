# Everything is built in the release profile: what is tested, measured and installed is one and the same.

CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

RELEASE  = $(CARGO_TARGET_DIR)/release
COMMANDS = ec2-bundle-vol ec2-bundle-image ec2-upload-bundle ec2-download-bundle ec2-unbundle ec2-verify-bundle \
           ec2-delete-bundle ec2-migrate-manifest ec2-migrate-bundle ec2-create-signing-cert ec2-ami-tools-version
VERSION  = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PACKAGE  = ec2-ami-tools-$(VERSION)-$(shell uname -m)

.PHONY: help build test test-boot lint bench demo fuzz install dist clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the commands
	$(CARGO) build --workspace --release --locked

test: ## install what the tests need, as root, and run everything
	scripts/install-prerequisites build test
	scripts/python-tools tests
	$(MAKE) build
	$(CARGO) test --workspace --release --locked --no-fail-fast
	$(MAKE) fuzz

test-boot: ## start images in QEMU, as root; takes minutes
	scripts/install-prerequisites build boot
	scripts/boot-root
	$(MAKE) build
	$(CARGO) test --package end-to-end --release --locked --test boot -- --ignored

lint: ## check format, lints, licences and sources
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --release --locked -- -D warnings
	$(CARGO) fetch --locked --quiet
	scripts/cargo-deny --offline check licenses bans sources

fuzz: ## run each fuzz target for FUZZ_SECONDS (60)
	scripts/fuzz

bench: ## measure beside the older suite's pipeline; writes docs/benchmarks.md
	scripts/install-prerequisites build bench
	scripts/python-tools bench
	$(MAKE) build
	$(RELEASE)/ami-bench

demo: ## a volume's whole way to S3 and back, as root
	scripts/install-prerequisites build demo
	$(MAKE) build
	scripts/demo $(RELEASE)

install: build ## install commands, man pages and completions below PREFIX (/usr/local)
	scripts/install-files $(RELEASE) "$(DESTDIR)$(PREFIX)" $(COMMANDS)

dist: build ## pack the same into dist/, with SHA256SUMS
	rm -rf dist
	scripts/install-files $(RELEASE) dist/$(PACKAGE) $(COMMANDS)
	cp LICENSE README.md CHANGELOG.md dist/$(PACKAGE)
	tar -C dist --owner 0 --group 0 -czf dist/$(PACKAGE).tar.gz $(PACKAGE)
	cd dist && sha256sum $(PACKAGE).tar.gz > SHA256SUMS

clean: ## remove what was built
	$(CARGO) clean
	rm -rf dist
