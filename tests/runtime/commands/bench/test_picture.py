"""What is in the picture of a bench."""

from datetime import datetime, timezone

import pytest

from htsat_edge.runtime.commands.bench import picture
from htsat_edge.runtime.commands.bench.device import read_device
from htsat_edge.runtime.commands.bench.results import ON_CPU, Bench, Candidate, Observation, summarise


def measured(name, *milliseconds):
    candidate = Candidate(name=name, kind="bundle", path="x", precision="fp32", backend="onnxruntime", threads=1)
    seconds = {"model": [ms / 1000 for ms in milliseconds]}
    return summarise(Observation(candidate, 1.0, 100.0, ON_CPU, seconds), None, [])


@pytest.mark.parametrize("slow", [(50, 60, 900), (5000, 9000, 90_000)], ids=["linear", "logarithmic"])
def test_nothing_is_cut_by_the_frame(slow, monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(picture.plt, "close", kept.append)
    bench = Bench(
        bundle="tiny",
        began=datetime.now(timezone.utc),
        device=read_device(None, None, []),
        versions={},
        runs=3,
        multiply_adds_per_window=None,
        gemm=[],
        measured=[measured("fast", 40, 41, 42), measured("slow", *slow)],
        not_run={},
    )
    picture.draw(tmp_path / "x.png", bench)
    (axes,) = kept[0].axes
    frame = axes.get_window_extent()
    for text in axes.texts:
        box = text.get_window_extent()
        assert frame.x0 < box.x0 < box.x1 < frame.x1
        assert frame.y0 < box.y0 < box.y1 < frame.y1
    whole = kept[0].get_tightbbox()
    assert whole.x0 >= 0
    assert whole.x1 <= kept[0].get_figwidth()
    monkeypatch.undo()
    picture.plt.close(kept[0])
