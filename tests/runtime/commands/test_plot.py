"""What is in a picture of a recording."""

import os
import shutil

import numpy as np
import pytest

from htsat_edge.runtime.commands import plot
from htsat_edge.runtime.commands.report import Detections
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings


@pytest.fixture
def figure(monkeypatch):
    """Keep the figure that is drawn, and return it."""
    kept = []
    monkeypatch.setattr(plot.plt, "close", kept.append)
    yield lambda: kept[-1]
    monkeypatch.undo()
    for one in kept:
        plot.plt.close(one)


@pytest.fixture
def draw(tmp_path):
    """Draw events of classes, given as (label, onset, offset, score), in a recording of 100 s."""
    info = load_bundle().info

    def run(*events, title="yard.wav"):
        trace = Trace()
        trace.frames(np.full((1024, info.front_end.n_mels), -60, np.float32))
        trace.scores(np.zeros((32, len(info.labels)), np.float32))
        ended = [
            EventEnd(source="yard", id=i, label=label, onset=onset, offset=offset, time=None, score=score)
            for i, (label, onset, offset, score) in enumerate(events)
        ]
        plot.draw(tmp_path / "x.png", title, Detections("yard", 100.0, ended, trace), info, Settings().classes(info))
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")

    return run


def test_the_strongest_classes_get_the_rows(draw, figure):
    labels = load_bundle().info.labels[:12]
    scores = [0.5 + 0.01 * i for i in range(11)] + [0.99]
    draw(*((label, 5.0 * i, 5.0 * i + 2, score) for i, (label, score) in enumerate(zip(labels, scores, strict=True))))
    bars = figure().axes[2]
    assert [text.get_text() for text in bars.get_yticklabels()] == labels[2:]  # the two weakest found no room
    assert bars.get_title("right") == "and 2 more classes with events"


def test_every_bar_has_its_score(draw, figure):
    """In it, beside it where it is short, and on the left of it at the end; always within the axes."""
    draw(("Dog", 10, 60, 0.91), ("Dog", 70, 70.3, 0.32), ("Dog", 99.5, 100, 0.25), ("Fowl", 0, 0.3, 0.5))
    bars = figure().axes[2]
    texts = [text for text in bars.texts if text.get_text().strip()]
    assert [text.get_text().strip() for text in texts] == ["0.50", "0.91", "0.32", "0.25"]
    assert [text.get_ha() for text in texts] == ["left", "center", "left", "right"]
    inside = bars.get_window_extent()
    for text in texts:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1


@pytest.mark.parametrize("title", ["雨の音.wav", "K\udcfcche.wav", "a\x1b[31m $x^$.wav", "☃🦆.wav"])
def test_any_name_is_a_title(title, draw, capfd):
    draw(title=title)
    assert capfd.readouterr() == ("", "")


def test_a_name_whose_bytes_are_no_text_has_a_picture(command, tiny_bundle, noise, tmp_path):
    """And so have the recordings after it."""
    (tmp_path / "pictures").mkdir()
    latin = shutil.copy(noise, os.fsdecode(os.fsencode(tmp_path) + b"/K\xfcche.wav"))
    status, _, err = command("detect", latin, noise, "--bundle", tiny_bundle, "--plot", tmp_path / "pictures")
    assert (status, err) == (0, "")
    assert sorted(os.fsencode(path.name) for path in (tmp_path / "pictures").iterdir()) == [
        b"K\xfcche.wav.png",
        b"noise.wav.png",
    ]


def test_a_tone_lies_at_its_tick(figure, tmp_path):
    """Of a model with the filters of another sample rate, as Microsoft's CLAP has them."""
    front_end = FrontEnd(sample_rate=44_100, mel_sample_rate=32_000)
    info = load_bundle().info.model_copy(update={"front_end": front_end})
    tone = np.sin(2 * np.pi * 4000 * np.arange(44_100) / 44_100).astype(np.float32)
    trace = Trace()
    trace.frames(LogMel(front_end)(tone))
    trace.scores(np.zeros((32, len(info.labels)), np.float32))
    plot.draw(tmp_path / "x.png", "x", Detections("x", 1.0, [], trace), info, Settings().classes(info))
    axes = figure().axes[0]
    image = axes.images[0]
    _, _, low, high = image.get_extent()
    rows = image.get_array()
    loudest = low + (rows.mean(axis=1).argmax() + 0.5) / len(rows) * (high - low)
    ticks = {text.get_text(): tick for text, tick in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    assert [*ticks] == ["0.1", "0.5", "1", "2", "4", "8"]
    assert ticks["4"] == pytest.approx(loudest, abs=0.02 * (high - low))
