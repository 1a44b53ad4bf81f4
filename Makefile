# Everything is built in the release profile, so that what is installed is what was tested and measured.

CARGO   ?= cargo
PREFIX  ?= /usr/local
DESTDIR ?=
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR

# PORTABLE=1 builds for every Linux since glibc 2.17, as packages do, and tests and measures that.
PORTABLE ?=
ifeq ($(PORTABLE),)
BUILD    = $(CARGO)
RELEASE  = $(CARGO_TARGET_DIR)/release
else
BUILD    = scripts/portable-cargo
RELEASE  = $(CARGO_TARGET_DIR)/$(shell uname -m)-unknown-linux-gnu/release
endif

COMMANDS = ec2-bundle-vol ec2-bundle-image ec2-upload-bundle ec2-download-bundle ec2-unbundle ec2-verify-bundle \
           ec2-delete-bundle ec2-migrate-manifest ec2-migrate-bundle ec2-create-signing-cert ec2-ami-tools-version ec2-ami
# What the demonstration runs.
DEMO     = ec2-bundle-vol ec2-upload-bundle ec2-download-bundle ec2-verify-bundle ec2-unbundle ec2-delete-bundle ec2-ami s3-server ebs-server
VERSION  = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

.PHONY: help build test test-used test-boot test-dist dist-tests lint bench soak faults doc demo fuzz install dist pack clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Only the named programs, with the whole workspace's features, so that later builds compile nothing twice.
build-programs = $(BUILD) build --workspace --release --locked $(addprefix --bin ,$(1))

build: ## build the commands
	$(call build-programs,$(COMMANDS) fetch-ec2-certificates)

test: ## install what the tests need, as root, and run everything
	scripts/install-prerequisites build test
	scripts/python-tools tests
	$(MAKE) build
	$(BUILD) test --workspace --release --locked --no-fail-fast
	$(MAKE) fuzz

test-used: ## run the fast tests again, as root, on a machine that looks used
	scripts/install-prerequisites build test
	scripts/python-tools tests
	$(MAKE) build
	scripts/test-used-machine $(BUILD)

test-boot: ## start images in QEMU, as root; takes minutes
	scripts/install-prerequisites build boot
	scripts/boot-root
	$(MAKE) build
	$(BUILD) test --workspace --release --locked --test end-to-end -- --ignored boot::

lint: ## check format, lints, licences, sources and unused dependencies
	scripts/install-prerequisites build lint
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --release --locked -- -D warnings
	$(CARGO) fetch --locked --quiet
	scripts/cargo-deny --offline check licenses bans sources
	scripts/cargo-machete crates bin tests bench fuzz
	shellcheck --severity=warning scripts/* .ci/run fuzz/make-seeds

fuzz: ## run each fuzz target for FUZZ_SECONDS (60)
	scripts/fuzz

bench: ## compare with the older suite's pipeline; writes docs/benchmarks.md
	scripts/install-prerequisites build bench
	scripts/python-tools bench
	scripts/coldsnap > /dev/null
	$(call build-programs,$(COMMANDS) s3-server ebs-server ami-bench)
	$(RELEASE)/ami-bench

soak: ## 50 rounds of bundle, upload, download, unbundle with faults and kills, 50 kills of ec2-ami create and fetch, as root; writes docs/benchmarks.md
	scripts/install-prerequisites build test
	$(call build-programs,$(COMMANDS) ami-soak)
	$(RELEASE)/ami-soak

faults: ## over 2,000 failing system calls and kills, 200 rounds of rivals, 100 busy volumes, as root; writes docs/benchmarks.md
	scripts/install-prerequisites build test
	$(call build-programs,$(COMMANDS) ami-faults)
	$(RELEASE)/ami-faults

doc: ## the crates' documentation, without warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --release --locked

demo: ## take a volume to S3 and back, then make an AMI of it, as root
	scripts/install-prerequisites build demo
	$(call build-programs,$(DEMO))
	scripts/demo $(RELEASE)

install: build ## install commands, man pages and completions below PREFIX (/usr/local)
	scripts/install-files $(RELEASE) "$(DESTDIR)$(PREFIX)" $(COMMANDS)

dist: ## pack portable commands into dist/: .tar.gz, .deb, .rpm, SHA256SUMS
	scripts/install-prerequisites build dist
	$(MAKE) PORTABLE=1 pack

test-dist: dist ## install the packages into a new Debian, as root, and use them there
	scripts/install-prerequisites test dist
	scripts/python-tools tests
	scripts/dist-root
	$(MAKE) PORTABLE=1 dist-tests

dist-tests:
	$(BUILD) test --workspace --release --locked --test end-to-end -- --ignored dist::

pack: build
	scripts/pack $(RELEASE) $(VERSION) $(COMMANDS)

clean: ## remove everything that was built
	$(CARGO) clean
	rm -rf dist
