"""Configuration files: networks, label lists, data sets, training, the detector. People edit copies of them."""

from pathlib import Path

CONFIGS = Path(__file__).resolve().parent
"""The folder of the configuration files, in a checkout or an installed package."""
