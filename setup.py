"""Packages, dependencies and metadata; the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "htsat_edge"
FOLDERS = ("runtime", "evaluation", "calibration", "export", "htsat", "configs")
"""Each is the package htsat_edge.FOLDER; it lies at the top, where the scripts are run from."""
SUBPACKAGES = [f"{folder}.{name}" for folder in FOLDERS for name in find_packages(folder)]

# sed_scores_eval 0.0.4 fails with pandas 3, and a library below it with a setuptools that has no pkg_resources.
SCORING = ["matplotlib>=3.8", "sed_scores_eval>=0.0.4", "pandas>=2.1,<3", "setuptools>=68,<81"]

# Starlette before 0.49.1 needs the square of the number of ranges that a browser asks a file for (CVE-2025-62727).
WEB = ["fastapi>=0.116", "starlette>=0.49.1", "uvicorn>=0.34"]

ARCHIVE = ["pyarrow>=17", "praatio>=6.2"]
MQTT = ["paho-mqtt>=2"]
NOTIFY = ["apprise>=1.9"]
REMOTE = ["tritonclient[grpc,http]>=2.50"]
FLEET = [*MQTT, "psycopg[binary]>=3.2", *WEB]
CLUSTER = ["ray[data]>=2.60", "pyarrow>=17", "fsspec>=2024.6"]

RTX = [
    f"tensorrt-rtx-cu13-{part}>=1.4; platform_machine == 'x86_64' and sys_platform == 'linux'"
    for part in ("bindings", "libs")
]

setup(
    name="htsat-edge",
    version="0.1.0",
    description="Sound event detection with HTS-AT on edge devices: ONNX export, streaming runtime, a bundled model",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    project_urls={"Paper": "https://arxiv.org/abs/2202.00874"},
    keywords=["sound event detection", "HTS-AT", "AudioSet", "ONNX", "TensorRT", "Jetson", "quantization"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    package_dir={NAME: NAME, **{f"{NAME}.{folder}": folder for folder in FOLDERS}},
    packages=[NAME, *(f"{NAME}.{name}" for name in (*FOLDERS, *SUBPACKAGES))],
    package_data={
        NAME: ["py.typed"],
        f"{NAME}.htsat": ["negatives.*"],
        f"{NAME}.runtime.models": ["bundled/*", "check/*"],
        f"{NAME}.runtime.web": ["static/*", "static/js/*"],
        f"{NAME}.configs": [
            "*.yaml",
            "*.csv",
            "cards/*.md",
            "datasets/*.csv",
            "groups/*.yaml",
            "labels/*.csv",
            "networks/*.yaml",
        ],
    },
    # `make test-oldest` runs the tests with exactly these versions and those of the extras, but for torch and pycuda.
    # The graph for a CPU needs onnxruntime 1.23.
    install_requires=[
        "numpy>=1.26",
        "scipy>=1.11",
        "soxr>=0.5",
        "soundfile>=0.13",
        "sounddevice>=0.4.6",
        "onnxruntime>=1.23",
        "pydantic>=2.7",
        "PyYAML>=6",
        "rich>=14.3",
    ],
    extras_require={
        "export": ["torch>=2.9", "onnx>=1.18", "safetensors>=0.4"],
        "calibration": ["onnx>=1.18", *SCORING],
        "mqtt": MQTT,
        "notify": NOTIFY,
        "remote": REMOTE,
        "fleet": FLEET,
        "metrics": ["prometheus-client>=0.20"],
        "web": WEB,
        # TensorRT and CUDA come with JetPack. pycuda takes numpy 2 from 2024.1.2 on, CUDA 13 from 2025.1.2 on.
        "jetson": ["onnx>=1.18", "pycuda>=2025.1.2"],
        "rtx": ["onnx>=1.18", *RTX],
        "plot": ["matplotlib>=3.8"],
        "archive": ARCHIVE,
        "cluster": CLUSTER,
        "train": ["torch>=2.9", "safetensors>=0.4", *SCORING],
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "ruff>=0.9",
            "mypy>=1.14",
            "prometheus-client>=0.20",
            "types-PyYAML>=6.0.12",
            *FLEET,
            *NOTIFY,
            *REMOTE,
            *ARCHIVE,
            *CLUSTER,
            # A mail server, so that notifications by mail are sent to a real one.
            "aiosmtpd>=1.4.6",
            # Read or write what `scan` writes or reads, so that not only our own code has judged it.
            "crowsetta>=5.1",
            "guano>=1.0.16",
            "praat-parselmouth>=0.4.5",
            "schemathesis>=4.32",
            "playwright>=1.49",
            "axe-playwright-python>=0.1.4",
            *RTX,
        ],
    },
    entry_points={"console_scripts": ["htsat-edge = htsat_edge.runtime.commands.cli:main"]},
)
