# The proxy alone on an empty image: a static binary and the CA roots. `make image` builds it. No syntax line, heredoc or COPY --link, so that
# the classic docker builder and old buildah and podman take it; podman and buildah need --format docker to keep the health check.
FROM docker.io/library/rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# The dependencies first, against an empty program, so that a change of the sources does not build them again.
# On musl where its target and its compiler can be had, else on a static glibc; the rest of the build reads which.
# Packed relocations are 0.3 MB less.
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs"
RUN set -eu; arch="$(uname -m)"; \
    if rustup target add "$arch-unknown-linux-musl" \
        && { command -v musl-gcc || { apt-get update && apt-get install -y --no-install-recommends musl-tools; }; }; then \
        echo "$arch-unknown-linux-musl" > /target; \
    else \
        echo "no musl here: building with a static glibc" >&2; \
        echo "$arch-unknown-linux-gnu" > /target; \
    fi; \
    mkdir src; echo 'fn main() {}' > src/main.rs; touch src/lib.rs; \
    cargo build --locked --profile image --target "$(cat /target)"; \
    rm -r src
COPY src src
COPY config config
ARG REVISION=unknown
RUN set -eu; touch src/main.rs src/lib.rs; \
    BATCH_RETRY_PROXY_REVISION="$REVISION" cargo build --locked --profile image --target "$(cat /target)"; \
    cp "target/$(cat /target)/image/batch-retry-proxy" /batch-retry-proxy; \
    mkdir -p /state/ca /state/trust

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# A fresh named volume on one of the two takes its owner, so the proxy may write there.
COPY --from=build --chown=65532:65532 /state /var/run/batch-retry-proxy
COPY --from=build /batch-retry-proxy /batch-retry-proxy
# By number: Kubernetes cannot tell that a name is not root.
USER 65532:65532
EXPOSE 3128 9464
# Asks admin.address on loopback. An address given by --admin-listen is unknown to it, so another port belongs into
# BATCH_RETRY_PROXY__ADMIN__ADDRESS, which both read.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/batch-retry-proxy", "healthcheck"]
ENTRYPOINT ["/batch-retry-proxy"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="batch-retry-proxy" \
      org.opencontainers.image.description="A local forward proxy that replays failed Azure Batch requests when that is safe, and counts what happened" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
