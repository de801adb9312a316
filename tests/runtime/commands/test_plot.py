"""What is in a picture of a recording."""

import os
import shutil

import numpy as np
import pytest

from htsat_edge.runtime.commands import plot
from htsat_edge.runtime.commands.report import Detections
from htsat_edge.runtime.commands.truth import TrueSound
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel
from htsat_edge.runtime.dsp.trace import Trace
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings


def rows(axes):
    return [text.get_text() for text in axes.get_yticklabels()]


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

    def run(*events, title="yard.wav", truth=(), scores=None):
        trace = Trace()
        trace.frames(np.full((1024, info.front_end.n_mels), -60, np.float32))
        trace.scores(np.zeros((32, len(info.labels)), np.float32) if scores is None else scores)
        ended = [
            EventEnd(source="yard", id=i, label=label, onset=onset, offset=offset, time=None, score=score)
            for i, (label, onset, offset, score) in enumerate(events)
        ]
        found = Detections("yard", 100.0, ended, trace)
        plot.draw(tmp_path / "x.png", title, found, info, Settings().classes(info), truth)
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")

    return run


def test_the_strongest_classes_get_the_rows(draw, figure):
    labels = load_bundle().info.labels[:12]
    scores = [0.5 + 0.01 * i for i in range(11)] + [0.99]
    draw(*((label, 5.0 * i, 5.0 * i + 2, score) for i, (label, score) in enumerate(zip(labels, scores, strict=True))))
    bars = figure().axes[2]
    assert rows(bars) == [labels[11], *labels[10:1:-1]]  # the two weakest found no room
    assert bars.get_title("right").endswith("and 2 more classes with events")


def test_a_sound_that_was_missed_has_a_row_with_its_name_a_box_and_how_much_was_lacking(draw, figure):
    info = load_bundle().info
    scores = np.zeros((32, len(info.labels)), np.float32)
    scores[4] = 0.3  # others are nearer to an event
    scores[4, info.labels.index("Bird")] = 0.21
    truth = [TrueSound("Dog", 1, 2), TrueSound("bird", 40, 60), TrueSound("Whale song", 50, 70)]
    draw(("Dog", 1, 2, 0.95), truth=truth, scores=scores)
    _, named, curves, bars = figure().axes
    assert [text.get_text() for text in named.texts] == ["Dog", "bird", "Whale song"]
    lanes = [round(box.get_y() + box.get_height() / 2) for box in named.patches]
    assert lanes == [1, 1, 2]  # the whale lies over the bird
    assert (len(rows(bars)), rows(bars)[0], rows(bars)[-1]) == (6, "Dog", "Bird")
    boxes = [(box.get_x(), round(box.get_y() + 0.43)) for box in bars.patches if not box.get_fill()]
    assert boxes == [(1, 0), (40, 5)]  # the model knows no whale
    assert curves.texts[5].get_text() == f"0.21 / {info.thresholds['Bird']:.2f}"


def test_a_sound_that_goes_on_beyond_the_recording_has_its_name_in_the_picture(draw, figure):
    draw(truth=[TrueSound("Dog", 1, 5000)])
    (name,) = figure().axes[1].texts
    assert name.xy[0] < 100


def test_thresholds_are_marks_and_scores_that_reach_them_are_full(draw, figure):
    info = load_bundle().info
    scores = np.zeros((32, len(info.labels)), np.float32)
    scores[3:5, info.labels.index("Dog")] = 0.95
    scores[5, info.labels.index("Dog")] = 0.5
    draw(scores=scores)
    curves = figure().axes[1]
    assert rows(curves)[0] == "Dog"
    bottom, height = 0.44, plot.SCORE_HEIGHT
    marks = [line.get_ydata()[0] for line in curves.lines if line.get_linestyle() == "--"]
    assert marks[0] == pytest.approx(bottom - height * info.thresholds["Dog"])
    whole, reached = (part.get_paths()[0].vertices for part in curves.collections[:2])
    assert (bottom - whole[:, 1].min()) / height == pytest.approx(0.95)
    over = reached[reached[:, 1] < bottom - 0.01, 0]
    assert (over.min(), over.max()) == pytest.approx((3 * info.step_s, 5 * info.step_s))


def test_an_early_start_that_the_final_scores_do_not_bear_out_is_pale(draw, figure):
    draw(("Dog", 10, 60, 0.72))
    bars = figure().axes[2]
    assert bars.patches[0].get_alpha() < 0.5
    assert bars.get_title("right") == "pale: reported early, not borne out by the final scores"


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


def test_the_command_draws_what_does_sound(command, tiny_bundle, noise, tmp_path, figure):
    (tmp_path / "truth.csv").write_text("onset,offset,label\n0.5,1,class 3\n")
    options = ["detect", noise, "--bundle", tiny_bundle, "--truth", tmp_path / "truth.csv"]
    assert command(*options)[::2] == (
        2,
        f"htsat-edge: --truth {tmp_path}/truth.csv: is drawn, so say where: --plot picture.png\n",
    )
    assert command(*options, "--plot", tmp_path / "x.png")[0] == 0
    assert [text.get_text() for text in figure().axes[1].texts] == ["class 3"]


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
