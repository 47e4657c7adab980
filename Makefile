# make run    build everything and run it on this machine
# make demo   the same, with a lively simulated stream
# make test   every test; ends with a count
# make test-kafka  the same against a real Kafka broker
# make lint   format, clippy, what deploys it
# make bench  measure the pipeline
# make help   all targets

.DEFAULT_GOAL := help
.PHONY: help run demo test test-kafka lint check-deploy bench build needs engine clean

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

run: build engine ## Build, fetch the engine, start everything embedded, keep running
	@scripts/run

demo: build engine ## The same, and send it a lively, signed, simulated stream
	@scripts/demo

test: needs engine ## Run every test
	@scripts/test

test-kafka: needs engine ## The same checks against a real Apache Kafka (needs Maven and Java 17)
	tests/kafka/broker.sh with 19092 cargo test --features test-kafka --lib --test end_to_end --test kafka

lint: needs check-deploy ## Check format, lints, and what deploys it
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings

check-deploy: ## Check docker-compose.yml, the Kubernetes manifests and their files
	@scripts/check-deploy

bench: build engine ## Measure the whole pipeline on this machine
	@scripts/bench

build: needs
	@cargo build --release --quiet --bin heliometer

needs:
	@scripts/install-build-needs

engine: needs ## Fetch the embedded ClickHouse engine, if it is not there yet
	@scripts/fetch-engine

clean: ## Remove what was built; data and engine stay
	cargo clean
