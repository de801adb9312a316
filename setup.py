"""Metadata; the tools' settings are in pyproject.toml."""

from setuptools import setup

# sed_scores_eval 0.0.4 stumbles over pandas 3, and a library below it over setuptools without pkg_resources.
SCORING = ["matplotlib>=3.8", "sed_scores_eval>=0.0.4", "pandas<3", "setuptools<81"]

RTX = [
    f"tensorrt-rtx-cu13-{part}; platform_machine == 'x86_64' and sys_platform == 'linux'"
    for part in ("bindings", "libs")
]

setup(
    name="htsat-edge",
    version="0.1.0",
    description="Sound event detection with HTS-AT on edge devices: ONNX export, streaming runtime, a bundled model",
    license="Apache-2.0",
    python_requires=">=3.10",
    package_dir={"": "."},
    packages=[
        "runtime",
        "runtime.backends",
        "runtime.bench",
        "runtime.outputs",
        "runtime.sources",
        "htsat",
        "export",
        "calibration",
    ],
    package_data={"runtime": ["models/bundled/*", "models/check/*"]},
    install_requires=[
        "numpy>=1.26",
        "scipy>=1.11",
        "soxr>=0.5",
        "soundfile>=0.12",
        "sounddevice>=0.4.6",
        "onnxruntime>=1.17",
        "pydantic>=2.7",
        "PyYAML>=6",
        "rich>=13",
    ],
    extras_require={
        # The graph for a CPU is of opset 23.
        "export": ["torch>=2.9", "onnx>=1.18", "onnxruntime>=1.23", "safetensors>=0.4"],
        "calibration": ["onnx>=1.18", *SCORING],
        "mqtt": ["paho-mqtt>=2"],
        "metrics": ["prometheus-client>=0.20"],
        # TensorRT and CUDA come with JetPack.
        "jetson": ["onnx>=1.16", "pycuda>=2024.1"],
        "rtx": ["onnx>=1.16", *RTX],
        "plot": ["matplotlib>=3.8"],
        "train": ["torch>=2.9", "safetensors>=0.4", *SCORING],
        "test": [
            "pytest>=8",
            "hypothesis>=6.100",
            "ruff>=0.9",
            "mypy>=1.14",
            "paho-mqtt>=2",
            "prometheus-client>=0.20",
            "types-PyYAML",
            *RTX,
        ],
    },
    entry_points={"console_scripts": ["htsat-edge = runtime.cli:main"]},
)
