# syntax=docker/dockerfile:1
# `docker build -t specdec .` makes an image of `specdec serve`; docs/serving.md says how to run it.

FROM rust:1.90-bookworm AS build
WORKDIR /specdec
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/specdec/target \
    cargo build --release --locked -p specdec && strip -o /usr/local/bin/specdec target/release/specdec

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /models --uid 10001 specdec
COPY --from=build /usr/local/bin/specdec /usr/local/bin/specdec
# By its number, which tells Kubernetes that it is not root.
USER 10001
# Downloads and packed weights: mount a volume here to keep them.
ENV HF_HOME=/models/huggingface XDG_CACHE_HOME=/models/cache
VOLUME /models
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m CMD ["curl", "--silent", "--fail", "http://127.0.0.1:8080/health"]
# The server listens to other machines only with a key: pass SPECDEC_API_KEY, or mount a file and add --api-key-file.
ENTRYPOINT ["specdec", "serve", "--host", "0.0.0.0", "--port", "8080"]
