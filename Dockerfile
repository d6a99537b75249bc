# The gateway as a container: `docker build -t durable-streams-gateway .`
#
# Debian, not Alpine: classic-level, which keeps the embedded log, comes with a binary for glibc on
# amd64 and arm64, but for musl on amd64 only.
ARG NODE_IMAGE=node:24.21.0-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
# The lock file alone says what is installed; sources that change do not install it again.
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json ./
COPY src ./src
RUN npm run build \
    && npm prune --omit=dev \
    && mkdir data

FROM ${NODE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="durable-streams-gateway" \
      org.opencontainers.image.description="Serves the Durable Streams protocol and keeps every byte in S2" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# Whoever runs this has to say AUTH: the gateway refuses to serve others than loopback without it.
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    PORT=4437 \
    DATA_DIR=/data
WORKDIR /app
# All of it belongs to root: the process can't change what it runs.
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# The one place that is written to, and only by the embedded log.
COPY --from=build --chown=1000:1000 /app/data /data
VOLUME ["/data"]

# A number, so that Kubernetes can tell that it is not root. It is the image's user `node`.
USER 1000:1000
EXPOSE 4437 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/healthz`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]

# `docker run IMAGE dist/main.js` is the gateway. A large young generation suits what fan-out
# allocates: buffers that live for as long as a batch is on its way.
ENTRYPOINT ["node", "--max-semi-space-size=64"]
CMD ["dist/main.js"]
