# The daemon, htsat-edge listen; docs/container.md tells how to run it. The base decides what it can use:
#   debian:trixie-slim                      arm64 or amd64, on onnxruntime
#   nvcr.io/nvidia/l4t-jetpack:r36.3.0      JetPack 6.0, with TensorRT 8.6
#   nvcr.io/nvidia/l4t-jetpack:r36.4.0      JetPack 6.1 and 6.2, with TensorRT 10.3
#   nvcr.io/nvidia/tensorrt:25.09-py3       JetPack 7, with TensorRT 10.13; from 7 on, Jetsons run NVIDIA's server images
# For those of NVIDIA add --build-arg EXTRAS=jetson,mqtt,metrics,web, and build on the device.
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
# Without versions: the bases have different ones, and Debian keeps only the last of each.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
# pycuda is compiled with the base's CUDA, and the environment sees the base's TensorRT.
ENV PATH=/usr/local/cuda/bin:$PATH
ARG EXTRAS=mqtt,metrics,web
# One more package: CUDA graphs need cuda-python==12.6.* on JetPack 6.1 and 6.2, 13.0.* on 7.
ARG PACKAGE=
WORKDIR /src
COPY . .
RUN python3 -m venv --system-site-packages /opt/htsat-edge/.venv \
    && /opt/htsat-edge/.venv/bin/pip install --no-cache-dir ".[${EXTRAS}]" ${PACKAGE:+"${PACKAGE}"}

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates ffmpeg libportaudio2 python3 tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --no-log-init --uid 10001 --groups audio,video --home-dir /var/lib/htsat-edge --shell /usr/sbin/nologin htsat-edge \
    && install --directory --mode 0700 --owner htsat-edge --group htsat-edge /var/lib/htsat-edge /var/cache/htsat-edge
COPY --from=build /opt/htsat-edge /opt/htsat-edge
COPY deploy/healthcheck.py /opt/htsat-edge/
COPY deploy/config /etc/htsat-edge/
# An engine fits one GPU. It is built where it runs, in the background, into the cache: the bundle cannot be written to.
ENV PATH=/opt/htsat-edge/.venv/bin:$PATH XDG_CACHE_HOME=/var/cache
# What was heard, clips and sounds; engines.
VOLUME ["/var/lib/htsat-edge", "/var/cache/htsat-edge"]
WORKDIR /var/lib/htsat-edge
# A number, so that Kubernetes sees that it is not root.
USER 10001
# Metrics and /healthz; the page
EXPOSE 9464 8480
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["python3", "/opt/htsat-edge/healthcheck.py"]
ENTRYPOINT ["htsat-edge"]
CMD ["listen", "--config", "/etc/htsat-edge/detector.yaml"]
