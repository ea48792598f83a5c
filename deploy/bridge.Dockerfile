# The host-bridge as a container: relay, migrations, and the embedded host for those who want no Spin.
#   docker build -f deploy/bridge.Dockerfile -t flower-shop-bridge .

FROM rust:1.95-bookworm AS build
WORKDIR /shop
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/shop/target \
    cargo build --locked --release --workspace --bin host-bridge \
    && cp target/release/host-bridge /usr/local/bin/host-bridge

FROM debian:bookworm-slim
# Addresses with https or amqps need the public certificates.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home shop
COPY --from=build /usr/local/bin/host-bridge /usr/local/bin/host-bridge
WORKDIR /shop
COPY host-bridge/topology.toml host-bridge/topology.toml
COPY migrations migrations
COPY demo demo
COPY audit audit
USER 10001
# Of the embedded host, publish the gateway's own listener (docs/operations.md):
# --listen 127.0.0.1:8080 --service-listen gateway=0.0.0.0:8000
EXPOSE 8000 9100
ENTRYPOINT ["host-bridge"]
CMD ["relay"]
