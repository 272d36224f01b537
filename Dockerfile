# The service with the bundled model inside: docker build -t latewood . (written by hand; not run so far, see docs/serving.md)
FROM python:3.11-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m venv /opt/latewood && /opt/latewood/bin/pip install --no-cache-dir -c constraints.txt ".[encode,bm25,eval,cli,files,http,serve]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/latewood /opt/latewood
RUN useradd --create-home --uid 10001 latewood && install -d -o latewood /data
ENV PATH=/opt/latewood/bin:$PATH HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
USER latewood
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/ready', timeout=4)"]
# Beyond this machine a key is asked for: docker run -e LATEWOOD_API_KEY=… -v kb:/data -p 8080:8080 latewood
ENTRYPOINT ["latewood", "serve"]
CMD ["--host", "0.0.0.0", "--port", "8080", "--root", "/data"]
