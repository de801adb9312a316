"""What the tests of enrolled sounds share, libraries that fail, and time zones."""

import platform
import sys
import time

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common import machine as this_machine
from htsat_edge.runtime.common.machine import load_onnxruntime, processors_off, try_onnxruntime


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


@pytest.fixture
def breaks(tmp_path, monkeypatch):
    """Makes a library that is there fail when it is imported, as a distribution's old one beside a newer numpy."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, failure="raise ImportError('numpy.core.multiarray failed to import')"):
        for loaded in [module for module in sys.modules if module.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, loaded)
        noise = "import sys; print('compiled using NumPy 1.x', file=sys.stderr)"
        (tmp_path / f"{name}.py").write_text(f"{noise}\n{failure}\n")

    return make


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    """A Tegra with cores turned off, and an onnxruntime that ends the process; returns the folder of the lists."""
    (tmp_path / "onnxruntime.py").write_text("import os; os.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    for name, numbers in {"online": "0-3,8-11", "present": "0-11", "possible": "0-11"}.items():
        (tmp_path / name).write_text(f"{numbers}\n")
    monkeypatch.setattr(this_machine, "processors_off", lambda: processors_off(tmp_path))
    monkeypatch.setattr(this_machine, "installed_versions", lambda *_: {"onnxruntime": "1.26.0"})
    kept = load_onnxruntime, try_onnxruntime
    for loaded in kept:
        loaded.cache_clear()
    yield tmp_path
    for loaded in kept:
        loaded.cache_clear()
