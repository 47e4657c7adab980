# syntax=docker/dockerfile:1

# Heliometer in a small image that runs as nobody in particular (uid 10001).
#
#   docker build -t heliometer .                           for a ClickHouse server (clickhouse.url)
#   docker build -t heliometer --build-arg ENGINE=with .   with the embedded engine (566 MB, x86-64 with AVX2); before it:
#       make engine && mkdir -p engine && cp ~/.cache/heliometer/engine/*/libchdb.so engine/

ARG ENGINE=without

FROM rust:1.95-bookworm AS builder
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY prices prices
COPY sql sql
COPY src src
COPY tests tests
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked --bin heliometer \
    && install -D -m 0755 target/dist/heliometer /out/heliometer

FROM debian:bookworm-slim AS runtime
# ca-certificates: to fetch stored bodies and to reach Slack. libssl3: librdkafka is linked with it.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 heliometer \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/heliometer --shell /usr/sbin/nologin heliometer \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/heliometer
COPY --from=builder /out/heliometer /opt/heliometer/heliometer
RUN ln -s /opt/heliometer/heliometer /usr/local/bin/heliometer
ENV HELIOMETER_DATA_DIR=/var/lib/heliometer
USER 10001:10001
WORKDIR /var/lib/heliometer
VOLUME /var/lib/heliometer
# 8443: webhooks. 9464: live page, metrics and health; it has no login and listens on 127.0.0.1 unless told otherwise.
EXPOSE 8443 9464
# The image has no curl; bash can open a connection by itself. Alive is not ready: /readyz tells about each part.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9464 && printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r line <&3 && [[ $line == *' 200 '* ]]"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/heliometer/heliometer"]
CMD ["serve"]

FROM runtime AS engine-without

FROM runtime AS engine-with
# Beside the program is the first place that is looked in.
COPY engine/libchdb.so /opt/heliometer/libchdb.so

FROM engine-${ENGINE}
