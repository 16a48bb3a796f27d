# Images of all programs; the last one, which is built when no target is named,
# is everything in one process.
#
#   docker build -t knowalledge-api .
#   docker build -t kae-gateway --target kae-gateway .
#
# What they have in common is the stage `base`: libraries, no compiler, nothing
# that is set-user-id, and the user 10001.  They can run with a read-only root:
# only /data is written to.

FROM debian:trixie-slim AS build
WORKDIR /src
COPY deploy/deps.sh deploy/
RUN deploy/deps.sh build && \
    apt-get install -y -q --no-install-recommends wordnet-base && \
    rm -rf /var/lib/apt/lists/*
COPY Makefile VERSION ./
COPY common common
COPY gateway gateway
COPY local local
COPY svc-auth svc-auth
COPY svc-content svc-content
COPY svc-gdpr svc-gdpr
ARG JOBS=2
# Without what a debugger reads, as nobody could read it in these images.
RUN make -s -j"$JOBS" opt.release="-O2 -D_FORTIFY_SOURCE=2" all && strip build/release/bin/*

FROM debian:trixie-slim AS base
ARG DEBIAN_FRONTEND=noninteractive
RUN apt-get update -q && \
    apt-get install -y -q --no-install-recommends \
        libcurl3t64-gnutls libgif7 libgnutls30t64 libhiredis1.1.0 libjansson4 \
        libjpeg62-turbo libjwt2 libmicrohttpd12t64 libnng1 libpng16-16t64 libpq5 \
        libsodium23 libsqlite3-0 libssl3t64 libutf8proc3 libwebp7 libwebpdemux2 \
        zlib1g ca-certificates && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/share/doc/* && \
    find / -xdev -perm /6000 -type f -exec chmod a-s {} + && \
    install -d -m 0700 -o 10001 -g 10001 /data
ENV ENVIRONMENT=production \
    BIND=0.0.0.0 \
    ADMIN_BIND=0.0.0.0 \
    DATA_DIR=/data
WORKDIR /data
VOLUME /data
USER 10001:10001
STOPSIGNAL SIGTERM
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="KnowAllEdge" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="debian:trixie-slim"

FROM base AS kae-gateway
LABEL org.opencontainers.image.title="kae-gateway" \
      org.opencontainers.image.description="HTTP and JSON for clients, msgpack on the bus for services"
COPY --from=build /src/build/release/bin/kae-gateway /usr/local/bin/
EXPOSE 5000 9400
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["kae-gateway", "--health"]
ENTRYPOINT ["kae-gateway"]

FROM base AS kae-auth
LABEL org.opencontainers.image.title="kae-auth" \
      org.opencontainers.image.description="Accounts, keys, sessions and tokens of KnowAllEdge"
COPY --from=build /src/build/release/bin/kae-auth /usr/local/bin/
EXPOSE 7001 9401
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["kae-auth", "--health"]
ENTRYPOINT ["kae-auth"]

FROM base AS kae-gdpr
LABEL org.opencontainers.image.title="kae-gdpr" \
      org.opencontainers.image.description="XP, consent, audit, export and erasure of KnowAllEdge"
COPY --from=build /src/build/release/bin/kae-gdpr /usr/local/bin/
EXPOSE 7003 9403
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["kae-gdpr", "--health"]
ENTRYPOINT ["kae-gdpr"]

# With the dictionary that the offline provider teaches from.
FROM base AS wordnet
COPY --from=build /usr/share/wordnet /usr/share/wordnet
COPY --from=build /usr/share/doc/wordnet-base/copyright /usr/share/doc/wordnet-base/

FROM wordnet AS kae-content
LABEL org.opencontainers.image.title="kae-content" \
      org.opencontainers.image.description="Topics, explanations, quizzes and mastery of KnowAllEdge"
COPY --from=build /src/build/release/bin/kae-content /usr/local/bin/
EXPOSE 7002 9402
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["kae-content", "--health"]
ENTRYPOINT ["kae-content"]

# Not a program of ours: writes the secrets that compose.yaml needs, once, with the
# openssl that ca-certificates brings along.
FROM base AS kae-init
LABEL org.opencontainers.image.title="kae-init" \
      org.opencontainers.image.description="Writes the secrets of a development stack of KnowAllEdge"
USER root
COPY deploy/compose/init.sh /usr/local/bin/kae-init
HEALTHCHECK NONE
ENTRYPOINT ["/bin/sh", "/usr/local/bin/kae-init"]

FROM wordnet AS knowalledge
LABEL org.opencontainers.image.title="knowalledge" \
      org.opencontainers.image.description="KnowAllEdge, the backend of a learning platform, all in one process"
COPY --from=build /src/build/release/bin/knowalledge /usr/local/bin/
COPY deploy/image/knowalledge.sh /usr/local/bin/knowalledge-start
EXPOSE 5000 9400
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["knowalledge", "--health"]
ENTRYPOINT ["/bin/sh", "/usr/local/bin/knowalledge-start"]
