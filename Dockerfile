# Builds the proxy and puts the binary and the CA roots on an otherwise empty image.
FROM docker.io/library/rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# The dependencies first, against an empty program, so that a change of the sources does not build them again.
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --target "$(uname -m)-unknown-linux-gnu" \
    && rm -r src
COPY src src
COPY config config
ARG REVISION=unknown
RUN touch src/main.rs src/lib.rs \
    && BATCH_RETRY_PROXY_REVISION="$REVISION" RUSTFLAGS='-C target-feature=+crt-static' \
       cargo build --locked --release --target "$(uname -m)-unknown-linux-gnu" \
    && cp target/*/release/batch-retry-proxy /batch-retry-proxy

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /batch-retry-proxy /batch-retry-proxy
USER 65532:65532
EXPOSE 3128 9464
HEALTHCHECK CMD ["/batch-retry-proxy", "healthcheck"]
ENTRYPOINT ["/batch-retry-proxy"]
