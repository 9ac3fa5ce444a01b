# The images of dockbus, a target for each:  docker build --target worker-scan --tag dockbus/worker-scan:0.1.0 .
#
#   api           the HTTP API; it never sees an Engine
#   events        `watch`, which publishes an Engine's events and runs rules; also `schedule`
#   worker        run, pull, cleanup and container jobs
#   worker-build  build jobs: with docker-buildx, and Git for contexts from repositories
#   worker-scan   scan jobs: with Trivy
#   metrics       the metrics worker
#   dev           all of these, started anew when their source changes (docker-compose.dev.yml)
#
# They run as an ordinary user, and write nowhere but to /tmp and the scanner's cache. To reach the Engine, give a container
# the Engine's socket and the group that owns it:
#   docker run -v /var/run/docker.sock:/var/run/docker.sock --group-add "$(stat -c %g /var/run/docker.sock)" …
# Whoever has the socket is root on its host.

# Pin them harder with a digest: --build-arg PYTHON=python@sha256:…
ARG PYTHON=python:3.13.9-slim-trixie
ARG BUILDX=docker/buildx-bin:0.29.1
ARG TRIVY=aquasec/trivy:0.74.0

FROM ${BUILDX} AS buildx
FROM ${TRIVY} AS trivy
# Where there is no package index: --build-arg PIP_NO_INDEX=1 --build-context wheels=FOLDER, with the wheels of deploy/*.lock in it.
FROM scratch AS wheels

# -- what is built -----------------------------------------------------------------------------

FROM ${PYTHON} AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

FROM base AS builder
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_FIND_LINKS=/wheels
ARG PIP_NO_INDEX
WORKDIR /src
COPY deploy/requirements.lock deploy/tools.lock deploy/
# No pip where it runs. Byte code is made here, since nothing can be written there; by hash, so that it is the same each time.
RUN --mount=type=bind,from=wheels,target=/wheels \
    python -m venv --without-pip /opt/dockbus \
 && python -m pip --python /opt/dockbus/bin/python install --no-compile --require-hashes -r deploy/requirements.lock \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/dockbus/lib

# In a stage, and so in a layer, of its own: a change of the source is a small download.
FROM builder AS wheel
RUN --mount=type=bind,from=wheels,target=/wheels \
    python -m venv --without-pip /opt/tools \
 && python -m pip --python /opt/tools/bin/python install --require-hashes -r deploy/tools.lock
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY producer producer
COPY workers workers
RUN /opt/tools/bin/hatchling build --target wheel --directory /dist \
 && python -m pip --python /opt/dockbus/bin/python install --no-deps --no-index --no-compile --root /installed /dist/*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash -s /installed /installed

# -- what runs ---------------------------------------------------------------------------------

FROM base AS runtime
# The cache folder is made here so that a volume on it belongs to the user.
RUN groupadd --gid 10001 dockbus \
 && useradd --uid 10001 --gid dockbus --create-home --shell /usr/sbin/nologin dockbus \
 && install --directory --owner=dockbus --group=dockbus /home/dockbus/.cache /home/dockbus/.cache/trivy
COPY deploy/healthy /usr/local/bin/healthy
COPY --from=builder /opt/dockbus /opt/dockbus
COPY --from=wheel /installed /
LABEL org.opencontainers.image.title="dockbus" \
      org.opencontainers.image.description="An operator-style event bus with workers for plain Docker hosts" \
      org.opencontainers.image.authors="the dockbus developers" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="0.1.0"
ENV PATH=/opt/dockbus/bin:$PATH DOCKBUS_METRICS_OWN_PORT=9754 HEALTH_URL=http://127.0.0.1:9754/readyz
WORKDIR /home/dockbus
USER 10001:10001
EXPOSE 9754
# Ready or not: it answers, and so do the Redis and the Engine that it needs. Where a container that is not healthy is
# replaced (Swarm), set HEALTH_URL to …/healthz: a new one would not mend them.
HEALTHCHECK --interval=15s --timeout=10s --start-period=40s --retries=3 CMD ["healthy"]
ENTRYPOINT ["dockbus"]

FROM runtime AS worker
CMD ["worker", "run"]

FROM runtime AS worker-scan
COPY --from=trivy /usr/local/bin/trivy /usr/local/bin/trivy
CMD ["worker", "scan"]

FROM runtime AS worker-build
COPY --from=buildx /buildx /usr/local/bin/docker-buildx
# --build-arg GIT= leaves Git out, and with it contexts from repositories.
ARG GIT=git
USER root
RUN if [ -n "$GIT" ]; then apt-get update && apt-get install --yes --no-install-recommends "$GIT" && rm -rf /var/lib/apt/lists/*; fi
USER 10001:10001
CMD ["worker", "build"]

FROM worker-build AS dev
COPY --from=trivy /usr/local/bin/trivy /usr/local/bin/trivy
COPY --from=wheel /opt/tools /opt/tools
# The source that is mounted goes before what is installed.
ENV PYTHONPATH=/src/shared:/src/producer:/src/workers
ENTRYPOINT ["/opt/tools/bin/watchfiles"]

FROM runtime AS events
CMD ["watch"]

FROM runtime AS metrics
ENV HEALTH_URL=http://127.0.0.1:9753/readyz
EXPOSE 9753
CMD ["metrics"]

FROM runtime AS api
ENV HEALTH_URL=http://127.0.0.1:8080/readyz
EXPOSE 8080
CMD ["api"]
