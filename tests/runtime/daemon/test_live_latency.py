"""What live_latency.py makes of scenes and of messages; it is run by hand."""

import runpy
from pathlib import Path

import numpy as np
import soundfile

from htsat_edge.evaluation.labels import Occurrence

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "live_latency.py"))


def test_scenes_become_one_stream_with_its_sounds(tmp_path):
    for name, level in (("a.wav", 0.25), ("b.wav", 0.5)):
        soundfile.write(tmp_path / name, np.full(32_000, level), 32_000)
    rows = ["a.wav,Dog,0.5,1", "b.wav,Dog,0.25,0.9", "b.wav,Owl,0.75,0.9"]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,class,onset,offset", *rows]))
    samples, begins, sounds = SCRIPT["read_stream"]([tmp_path / "manifest.csv"], 1.6)
    assert begins == [(0, "a.wav"), (1, "b.wav")]
    assert sounds == [Occurrence(0.5, 1, "Dog"), Occurrence(1.25, 1.6, "Dog")]
    assert samples.dtype == "<i2"
    assert samples.tolist() == [8192] * 32_000 + [16384] * 19_200


def test_times_of_messages_are_those_of_the_stream():
    start = {"type": "start", "id": 1, "label": "Dog", "time": "2026-01-02T03:04:08.500+00:00", "onset": 4.5}
    begun = 1767323045.0  # 03:04:05
    end = {**start, "type": "end", "time": "2026-01-02T03:04:08.250+00:00", "onset": 4.25, "offset": 6}
    heard = [(begun + 4.25, start), (begun + 5, {"type": "status"}), (begun + 6, {**start, "id": 2}), (begun + 7, end)]
    first, second = SCRIPT["reports_of"](begun, heard, 10.0)
    assert (first.start_s, first.heard_s) == (3.5, 4.25)
    assert first.event == Occurrence(3.25, 5, "Dog")
    assert second.event == Occurrence(3.5, 10, "Dog")  # it has not ended
