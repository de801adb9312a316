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


@pytest.mark.parametrize("label", ["Speech", "Dog", "Thunder"])
def test_the_demo_finds_what_a_person_hears(label, heard, farmyard):
    """Half or more of what an event covers is where the sound is, and it begins there."""
    with farmyard.with_suffix(".csv").open() as file:
        spans = [(float(r["onset"]), float(r["offset"])) for r in csv.DictReader(file) if r["label"] == label]
    events = [e for e in heard.events if e.label == label and e.type == "end"]
    assert events
    begin, end = min(onset for onset, _ in spans), max(offset for _, offset in spans)
    best = max(events, key=lambda event: event.score)
    assert begin - 0.7 <= best.onset <= end
    assert best.offset <= end + 1.3


def test_it_travels_light():
    size = sum(path.stat().st_size for path in Path(BUNDLED).iterdir())
    assert size < 24e6
    assert max(path.stat().st_size for path in Path(BUNDLED).iterdir()) < 10e6


def test_it_has_its_card_and_licences():
    assert (BUNDLED / "MODEL_CARD.md").is_file()
    assert (BUNDLED / "LICENCES.md").is_file()
