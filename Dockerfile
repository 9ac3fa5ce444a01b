# One image for every service of dockbus; the command says which it is: `api`, `watch`, `worker KIND`, `metrics`.
# It runs as an ordinary user. To reach the Engine, give a container the Engine's socket and the group that owns it:
#   docker run -v /var/run/docker.sock:/var/run/docker.sock --group-add "$(stat -c %g /var/run/docker.sock)" …
# (docker-compose.yml takes that number from DOCKER_GID). Whoever has the socket is root on its host.

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=/constraints.txt
WORKDIR /src
COPY requirements.lock ./
# The lock file also names what development needs: here it only says which versions.
RUN sed -E 's/ *--hash=[^ ]+//; s/ *\\$//' requirements.lock >/constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY producer producer
COPY workers workers
RUN pip wheel --no-deps --wheel-dir /wheels . \
 && python -m venv /opt/dockbus \
 && /opt/dockbus/bin/pip install "$(echo /wheels/dockbus-*.whl)[producer,workers]"

FROM python:3.13-slim-trixie
COPY --from=aquasec/trivy:0.74.0 /usr/local/bin/trivy /usr/local/bin/trivy
# The cache folder is made here so that a volume on it belongs to the user.
RUN useradd --uid 10001 --create-home dockbus \
 && install --directory --owner=dockbus /home/dockbus/.cache /home/dockbus/.cache/trivy
COPY --from=build /opt/dockbus /opt/dockbus
ENV PATH=/opt/dockbus/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HEALTH_PORT=8080
USER 10001
EXPOSE 8080 9753
# For what serves HTTP; a worker or `watch` has its heartbeat in Redis instead (docker-compose.yml turns this off).
HEALTHCHECK --interval=15s --timeout=5s --start-period=15s CMD ["python", "-c", "\
import os, http.client; \
c = http.client.HTTPConnection('127.0.0.1', int(os.environ['HEALTH_PORT']), timeout=4); \
c.request('GET', '/healthz'); \
raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["dockbus"]
CMD ["api"]
