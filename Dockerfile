# htsat-edge on a Jetson, with TensorRT and CUDA from NVIDIA's image:
#   JetPack 6.0:      nvcr.io/nvidia/l4t-jetpack:r36.2.0 (TensorRT 8.6)
#   JetPack 6.1, 6.2: nvcr.io/nvidia/l4t-jetpack:r36.4.0 (TensorRT 10.3)
#   JetPack 7:        nvcr.io/nvidia/tensorrt:25.09-py3 (TensorRT 10.13; from 7 on, Jetsons run NVIDIA's server images)
#
#   docker build --build-arg BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0 -t htsat-edge .
#   docker run --runtime nvidia --device /dev/snd --volume engines:/app/runtime/models/bundled/engines \
#     --volume sounds:/app/runtime/models/bundled/sounds htsat-edge
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}

RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg g++ libportaudio2 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY . .
# TensorRT comes with the image's own packages; pycuda is compiled with the image's CUDA.
RUN python3 -m venv --system-site-packages .venv \
    && PATH=/usr/local/cuda/bin:$PATH .venv/bin/pip install --no-cache-dir --editable ".[jetson,metrics]"

ENV PATH=/app/.venv/bin:/usr/local/cuda/bin:$PATH
# An engine fits one GPU. So it is built where it runs: at the first start; later starts find it in the volume.
# Sounds that were enrolled (htsat-edge enroll) outlive the container in theirs.
CMD ["sh", "-c", "python export/build_trt.py && htsat-edge detect tests/data/recordings/farmyard.flac"]
