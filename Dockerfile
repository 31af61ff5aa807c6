# Two images: `docker build --target runtime .` serves one exported file without torch, and the default has every command.
# The commands are run outside Docker by `scripts/check-dockerfile`.
FROM python:3.11-slim AS source
WORKDIR /src
COPY . .
RUN python -m venv /opt/frostline

FROM source AS install-runtime
RUN /opt/frostline/bin/python -m pip install --no-cache-dir --constraint constraints.txt ./runtime
RUN scripts/trim-runtime /opt/frostline

FROM source AS install-full
# The CPU build of torch: the other one brings gigabytes of CUDA libraries.
RUN /opt/frostline/bin/python -m pip install --no-cache-dir --no-deps --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
RUN /opt/frostline/bin/python -m pip install --no-cache-dir --constraint constraints.txt ".[serve,export]"

FROM python:3.11-slim AS base
RUN useradd --create-home --uid 1000 frostline && install -d -o frostline /data
ENV PATH=/opt/frostline/bin:$PATH
USER frostline
WORKDIR /data
ENTRYPOINT ["frostline"]

FROM base AS runtime
COPY --from=install-runtime /opt/frostline /opt/frostline
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=30s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["serve", "model.onnx", "--host", "0.0.0.0", "--api-key-file", "/run/secrets/keys"]

FROM base AS full
COPY --from=install-full /opt/frostline /opt/frostline
CMD ["--help"]
