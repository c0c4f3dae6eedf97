# One image for every role: `docker run bestex serve`, `... api`, `... worker`, `... paper`, `... migrate`.

FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/bestex
# The dependencies in a layer of their own: a change of the code does not install them again.
COPY pyproject.toml .
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
        > requirements.txt \
    && pip --python /opt/bestex/bin/python install --no-cache-dir --only-binary :all: -r requirements.txt
COPY README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && pip --python /opt/bestex/bin/python install --no-cache-dir --no-deps /wheels/*.whl

FROM python:3.13-slim
# A number, so that Kubernetes can tell that it is not root.
RUN groupadd --system --gid 10001 bestex \
    && useradd --system --uid 10001 --gid bestex --home-dir /var/lib/bestex --shell /usr/sbin/nologin bestex \
    && install --directory --owner bestex --group bestex /var/lib/bestex
COPY --from=build /opt/bestex /opt/bestex
ENV PATH=/opt/bestex/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BESTEX_HOST=0.0.0.0 \
    BESTEX_DATA_DIR=/var/lib/bestex \
    BESTEX_LOG_FORMAT=json
USER 10001:10001
WORKDIR /var/lib/bestex
# The API or a worker's health and metrics; the paper cluster's JSON-RPC and WebSocket.
EXPOSE 8080 8899 8900
STOPSIGNAL SIGTERM
HEALTHCHECK NONE
ENTRYPOINT ["bestex"]
CMD ["serve"]
