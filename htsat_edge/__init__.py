"""Sound event detection with HTS-AT on edge devices."""

from pathlib import Path

if not (Path(__file__).parent / "runtime").exists():
    # This is the folder of a checkout, found first by who works at its top: there the parts lie beside it.
    __path__.append(str(Path(__file__).parent.parent))
