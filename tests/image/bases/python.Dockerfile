# Stands in for docker.io/library/python:3.12-slim, with the Batch client in it, and its wheels for a pip that has no index.
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-pip && rm -rf /var/lib/apt/lists/* \
    && ln -s python3 /usr/bin/python
COPY --from=wheels . /wheels/
ENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels
RUN pip install --break-system-packages --no-cache-dir --requirement /wheels/requirements.txt
