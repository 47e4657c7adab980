# make run    build everything and run it on this machine
# make demo   the same, with a lively simulated stream
# make test   every test; ends with a count
# make test-kafka  the same over a real Kafka broker, and processes over it that are killed
# make chaos  200 kills over a million events, embedded and over Kafka; longer outages
# make lint   format, clippy, what deploys it, dashboards
# make bench  measure the pipeline; also bench-rollups, bench-dashboards, bench-alerts
# make pictures  take the README's pictures of the live page
# make help   all targets

.DEFAULT_GOAL := help
.PHONY: help run demo test test-tools test-kafka scenario-messages chaos chaos-embedded chaos-kafka chaos-program lint check-deploy check-dashboards bench bench-rollups bench-dashboards bench-alerts pictures build needs kafka-needs engine clean

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

run: build engine ## Build, fetch the engine, start everything embedded, keep running
	@scripts/run

demo: build engine ## The same, and send it a lively, signed, simulated stream
	@scripts/demo

test: needs engine test-tools ## Run every test
	@scripts/test --features crash-points

test-kafka: kafka-needs engine test-tools ## The same over a real Apache Kafka, and processes over it that are killed
	@tests/kafka/broker.sh with 19092 scripts/test --features test-kafka --lib --test end_to_end --test kafka

scenario-messages: engine ## Write every message of the alert scenarios into docs/images/scenarios, as Slack shows it
	@mkdir -p docs/images/scenarios
	@HELIOMETER_WRITE_SCENARIOS=1 scripts/test --features crash-points --test end_to_end -- scenarios::

chaos: chaos-embedded chaos-kafka ## 200 kills over a million events, embedded and over Kafka, then longer outages

chaos-embedded: engine chaos-program ## The first half of chaos
	@$(CHAOS) HELIOMETER_CHAOS_RATE=$${HELIOMETER_CHAOS_RATE:-1000} \
		scripts/test --features crash-points --test end_to_end -- --nocapture chaos::

chaos-kafka: kafka-needs engine chaos-program ## The second half of chaos
	@tests/kafka/broker.sh fetch
	@$(CHAOS) HELIOMETER_CHAOS_RATE=$${HELIOMETER_CHAOS_RATE:-800} HELIOMETER_CHAOS_LONG=1 \
		scripts/test --features test-kafka --test kafka -- --nocapture --test-threads 1 chaos:: outages:: distributed::

# As `make run` builds it, but with the places where it may be told to kill itself.
chaos-program: needs
	@cargo build --release --quiet --bin heliometer --features crash-points

CHAOS = HELIOMETER_TEST_PROGRAM=$(CURDIR)/target/release/heliometer \
	HELIOMETER_CHAOS_KILLS=$${HELIOMETER_CHAOS_KILLS:-200} HELIOMETER_CHAOS_EVENTS=$${HELIOMETER_CHAOS_EVENTS:-1000000}

lint: needs check-deploy check-dashboards ## Check format, lints, what deploys it, and the dashboards
	cargo fmt --check
	cargo clippy --all-targets --features test-kafka --quiet -- -D warnings

check-deploy: ## Check docker-compose.yml, the Kubernetes manifests and their files
	@scripts/check-deploy

check-dashboards: needs ## Check the Grafana dashboards against Grafana's own schema
	@scripts/check-dashboards

bench: build engine ## Measure the whole pipeline on this machine
	@scripts/bench

pictures: needs engine test-tools ## Take pictures of the live page for the README, into docs/images
	@scripts/install-build-needs pictures
	@HELIOMETER_PICTURES=$(CURDIR)/docs/images cargo test --quiet --test end_to_end browser::
	@pngquant --force --ext .png --skip-if-larger docs/images/live-page*.png

bench-rollups: engine ## Measure rollup passes with 100 million calls stored (CALLS=…)
	@cargo bench --quiet --bench rollups -- $${CALLS:-100000000}

bench-dashboards: engine ## Measure every query of dashboards and documents with 100 million calls stored (CALLS=…)
	@cargo bench --quiet --bench dashboards -- $${CALLS:-100000000}

bench-alerts: build engine ## Measure from a webhook's answer to the Slack message, at 1,000 calls a second
	@scripts/bench-alerts

build: needs
	@cargo build --release --quiet --bin heliometer

needs:
	@scripts/install-build-needs

kafka-needs: needs
	@scripts/install-build-needs kafka

test-tools: needs
	@scripts/install-build-needs browser
	@scripts/fetch-test-tools

engine: needs ## Fetch the embedded ClickHouse engine, if it is not there yet
	@scripts/fetch-engine

clean: ## Remove what was built; data and engine stay
	cargo clean
