# Stands in for docker.io/library/rust:1-bookworm.
FROM docker.io/library/debian:bookworm-slim
ARG TOOLCHAIN
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY --from=certificates . /usr/local/share/ca-certificates/
RUN update-ca-certificates \
    && apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY --from=rustup rustup /usr/local/cargo/bin/
RUN ln -s rustup /usr/local/cargo/bin/cargo && ln -s rustup /usr/local/cargo/bin/rustc \
    && mkdir -p /usr/local/rustup \
    && printf 'version = "12"\nprofile = "minimal"\ndefault_toolchain = "%s"\n' "$TOOLCHAIN" > /usr/local/rustup/settings.toml
COPY --from=sysroot bin/cargo bin/rustc /usr/local/rustup/toolchains/$TOOLCHAIN/bin/
COPY --from=sysroot lib /usr/local/rustup/toolchains/$TOOLCHAIN/lib
