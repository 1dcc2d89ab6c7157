# syntax=docker/dockerfile:1
# One image for the gateway and for its sandbox: `docker build -t healthtap-gateway .`

FROM node:24-bookworm-slim AS sources
WORKDIR /app
COPY package.json package-lock.json ./

FROM sources AS build
RUN --mount=type=cache,target=/tmp/npm npm ci --cache /tmp/npm --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/build.js scripts/
COPY src src
COPY plugins plugins
COPY routes routes
COPY sandbox sandbox
COPY console console
RUN npm run build

# Of the three builds that OpenTelemetry brings, Node takes one.
FROM sources AS dependencies
RUN --mount=type=cache,target=/tmp/npm npm ci --cache /tmp/npm --omit=dev --ignore-scripts \
 && find node_modules -name '*.map' -delete \
 && rm -rf node_modules/@opentelemetry/*/build/esm node_modules/@opentelemetry/*/build/esnext

FROM node:24-bookworm-slim AS gateway
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="healthtap-gateway" \
      org.opencontainers.image.description="Token broker for HealthTap Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# In a container 127.0.0.1 is reachable by nobody else: the container's own network is what keeps strangers out.
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    JOURNAL_DIR=/var/lib/healthtap-gateway/journal
WORKDIR /app
COPY LICENSE package.json ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
# A volume that is mounted there for the first time takes over whose it is.
RUN ln -s /app/dist/src/main.js /usr/local/bin/healthtap-gateway \
 && install -d -o 1000 -g 1000 -m 0700 /var/lib/healthtap-gateway /var/lib/healthtap-gateway/journal
USER 1000:1000
EXPOSE 3000
STOPSIGNAL SIGTERM
# Whether it lives, not whether it is ready: an engine that ends what is not well must not end all gateways when Redis is away.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["healthtap-gateway", "healthcheck"]
ENTRYPOINT ["healthtap-gateway"]
CMD ["serve"]

# Makes what the stack of docker-compose.yml needs to know, when it starts for the first time.
FROM gateway AS setup
USER 0:0
RUN apt-get update \
 && apt-get install -y --no-install-recommends openssl \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 1000 -g 1000 -m 0755 /secrets/gateway /secrets/redis /secrets/sandbox /secrets/operator
COPY --chmod=0555 deploy/stack/setup.sh /usr/local/bin/stack-setup
USER 1000:1000
HEALTHCHECK NONE
ENTRYPOINT ["stack-setup"]
CMD []

# Three gateways behind one address: compose.scale.yml.
FROM debian:bookworm-slim AS balancer
RUN apt-get update \
 && apt-get install -y --no-install-recommends haproxy \
 && rm -rf /var/lib/apt/lists/*
COPY deploy/balancer/haproxy.cfg /etc/haproxy/haproxy.cfg
USER 65534:65534
EXPOSE 3000 3002
STOPSIGNAL SIGUSR1
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/etc/haproxy/haproxy.cfg"]

# What a build without --target makes.
FROM gateway
