"""What the tests of enrolled sounds share, and time zones."""

import time

import numpy as np
import pytest
import soundfile


@pytest.fixture
def in_zone(monkeypatch):
    """Moves this process to a time zone."""

    def move(zone):
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(scope="session")
def write_takes():
    """Write so many recordings of noises that differ, half a second each, into a folder; return their paths."""

    def write(folder, count=3, rate=16_000, seed=0):
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        paths = [folder / f"take-{seed}-{number}.wav" for number in range(count)]
        for path in paths:
            soundfile.write(path, rng.normal(0, 0.1, rate // 2), rate, "PCM_16")
        return paths

    return write


@pytest.fixture(scope="session")
def make_report():
    """Return a report, that of an accepted sound by default."""
    from htsat_edge.runtime.models.sounds import Estimate, SoundReport

    def make(accepted=True, **changed):
        some = Estimate(value=0.9, low=0.7, high=1.0)
        content = {"recordings": 3, "recall": some, "false_alarms_per_h": some, "background_h": 1.0, "threshold": 0.5}
        return SoundReport(**{**content, "accepted": accepted, **changed})

    return make


@pytest.fixture(scope="session")
def put_sound(make_report, write_takes, tmp_path_factory):
    """Put a sound with a given head into a library, as if it had been learned; `prepared` is called just before."""
    from htsat_edge.runtime.enrolment.enroll import Enrolment
    from htsat_edge.runtime.enrolment.recordings import take_recordings

    def put(library, label, weight=None, bias=0.0, threshold=0.5, seed=0, replace=None, prepared=lambda: None):
        folder = tmp_path_factory.mktemp("takes")
        rate = library.bundle.info.front_end.sample_rate
        taken = take_recordings(rate, folder, write_takes(folder / "raw", seed=seed))
        weight = np.zeros(4, np.float32) if weight is None else weight
        prepared()
        return library.add(Enrolment(label, weight, bias, threshold, make_report()), taken, replace)

    return put
