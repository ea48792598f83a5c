# The embedded host with the shop's components in it: the bridge's image and, for each service, a manifest of its own.
#   docker build -f deploy/bridge.Dockerfile -t flower-shop-bridge .
#   docker build -f deploy/host.Dockerfile -t flower-shop-host .
#   docker run flower-shop-host serve --manifest /shop/target/manifests/ordering.toml --listen 0.0.0.0:8003

ARG BRIDGE=flower-shop-bridge

FROM rust:1.95-bookworm AS build
WORKDIR /shop
COPY . .
RUN rustup target add wasm32-wasip2
# Where manifests and components are to each other stays as it is.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/shop/target \
    cargo xtask components \
    && cargo xtask manifests \
    && mkdir -p /built/target \
    && cp -r target/manifests target/components /built/target/

FROM ${BRIDGE}
COPY --from=build /built /shop
EXPOSE 8000-8005 9100
CMD ["serve", "--manifest", "/shop/target/manifests/gateway.toml", "--listen", "0.0.0.0:8000"]
