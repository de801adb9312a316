"""The model that ships with the runtime, on the recording that the demo plays."""

import csv
from pathlib import Path

import pytest

from runtime.backends import open_backend
from runtime.bundle import BUNDLED, read_bundle
from runtime.detect import listen_to
from runtime.detector import Settings


@pytest.fixture(scope="module")
def heard(farmyard):
    bundle = read_bundle(BUNDLED)
    return listen_to(farmyard, bundle.info, open_backend(bundle), Settings())


@pytest.mark.parametrize("label", ["Speech", "Thunder", "Cattle, bovinae"])
def test_it_finds_a_sound_where_a_person_hears_it(label, heard, farmyard):
    """To two steps of 0.32 s, and nowhere else."""
    with farmyard.with_suffix(".csv").open() as file:
        ((onset, offset),) = [
            (float(r["onset"]), float(r["offset"])) for r in csv.DictReader(file) if r["label"] == label
        ]
    (event,) = [e for e in heard.events if e.label == label and e.type == "end"]
    assert event.onset == pytest.approx(onset, abs=0.64)
    assert event.offset == pytest.approx(offset, abs=0.64)


def test_it_travels_light():
    size = sum(path.stat().st_size for path in Path(BUNDLED).iterdir())
    assert size < 24e6
    assert max(path.stat().st_size for path in Path(BUNDLED).iterdir()) < 10e6


def test_it_has_its_card_and_licences():
    assert (BUNDLED / "MODEL_CARD.md").is_file()
    assert (BUNDLED / "LICENCES.md").is_file()
