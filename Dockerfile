# syntax=docker/dockerfile:1
#
# Two images from one file, each built only if it is asked for:
#   docker build --target server -t ks-server .     the backend
#   docker build --target fleet  -t ks-fleet  .     the fleet simulator, with the shipped scenarios
#
# Both run as uid 10001 and need no writable root file system: /data (server), /fleet/reports and /tmp (fleet) are
# all that is written.

# ---- the admin web --------------------------------------------------------------------------------------------------
FROM node:22-bookworm-slim AS web
WORKDIR /src/admin-web
COPY admin-web/package.json admin-web/package-lock.json ./
RUN --mount=type=cache,id=ks-npm,target=/root/.npm npm ci --no-audit --no-fund
COPY admin-web/ ./
RUN npm run build

# ---- what both builds share -----------------------------------------------------------------------------------------
# The slim image has all that is needed: the compiler, and gcc with libc6-dev for the C in it (SQLite, TLS).
FROM rust:1.95-slim-bookworm AS source
WORKDIR /src
COPY . .

# The executables are copied out of the cached target folder, which is no part of the image. Built apart, so that the
# simulator does without the features that only the server wants.
FROM source AS build-server
COPY --from=web /src/admin-web/dist/ admin-web/dist/
RUN --mount=type=cache,id=ks-cargo-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=ks-target-server,target=/src/target,sharing=locked \
    cargo build --profile dist --locked --package ks-server \
    && install -D --mode=0755 target/dist/ks-server /out/ks-server

FROM source AS build-fleet
RUN --mount=type=cache,id=ks-cargo-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=ks-target-fleet,target=/src/target,sharing=locked \
    cargo build --profile dist --locked --package ks-fleet \
    && install -D --mode=0755 target/dist/ks-fleet /out/ks-fleet

# ---- what both images share -----------------------------------------------------------------------------------------
FROM debian:bookworm-slim AS runtime
RUN groupadd --gid 10001 ks \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ks

# ---- ks-fleet -------------------------------------------------------------------------------------------------------
FROM runtime AS fleet
# The authorities that issue the certificates of https:// targets.
RUN apt-get update -qq && apt-get install --yes -qq --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build-fleet /out/ks-fleet /usr/local/bin/ks-fleet
WORKDIR /fleet
COPY scenarios/*.toml scenarios/
RUN chmod -R a+rX scenarios && install --directory --owner=10001 --group=10001 reports
USER 10001:10001
VOLUME /fleet/reports
STOPSIGNAL SIGTERM
# Without arguments it runs the quickstart against a server of its own.
ENTRYPOINT ["ks-fleet"]

# ---- ks-server ------------------------------------------------------------------------------------------------------
# The last stage is what a build without --target makes.
FROM runtime AS server
COPY --from=build-server /out/ks-server /usr/local/bin/ks-server
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
ENV HOST=0.0.0.0 \
    PORT=3000 \
    DATABASE_URL=file:/data/ks.sqlite \
    LOG_FORMAT=json
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
# bash opens the connection itself, so that the image needs no HTTP client. /health is 200 while the store answers. With TLS
# only the port is checked: bash does not speak it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["bash", "-c", "exec 3<>\"/dev/tcp/127.0.0.1/$PORT\" && [ -n \"$TLS_CERT_FILE\" ] && exit 0; printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["ks-server"]
CMD ["serve"]
