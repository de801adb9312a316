"""Levels of sensitivity, chosen and counted with a model whose scores are known."""

import json

import numpy as np
import pytest
import soundfile

from htsat_edge.calibration import levels
from htsat_edge.calibration.levels import PRESENT, SHIFTS, Heard, choose, main, upper_bound
from htsat_edge.calibration.thresholds import ClassCounts
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

LABELS = load_bundle(BUNDLED).info.labels
DOG, CAT = LABELS[:2]
PLACE = {float(shift): place for place, shift in enumerate(SHIFTS)}
RATE = 16_000


def stairs(start, *steps):
    """A number for each shift: `start`, and from each named shift on another."""
    column = np.full(len(SHIFTS), float(start))
    for shift, number in steps:
        column[shift <= SHIFTS] = number
    return column


def chosen(starts, sounds, found, false):
    """The shifts of few_false_alarms and miss_little, after two hours of background and two of scenes."""
    none = stairs(0)
    quiet, scenes = (
        Heard(ClassCounts(*(column[:, None] for column in columns)), 2.0)
        for columns in ((none, none, starts, starts), (stairs(sounds), found, found + false, false))
    )
    places = choose(quiet, scenes, 0)
    assert places.balanced == PRESENT
    return SHIFTS[places.few_false_alarms], SHIFTS[places.miss_little]


FOUND = stairs(90, (-1.5, 80), (-0.75, 60), (0.5, 40), (2, 10))
FALSE = stairs(40, (-0.5, 20), (0.75, 10), (1.5, 2))
NEVER = stairs(0)


def test_few_false_alarms_is_one_an_hour_and_half_of_those_of_the_scenes():
    for starts, wanted in (
        (stairs(9, (0, 2)), 0.75),  # two in two hours as it is: half of the 20 are left from 0.75 on
        (stairs(9, (1, 3), (1.25, 2), (3, 0)), 1.25),
        (stairs(9, (0.25, 0), (2, 3), (2.25, 0)), 2.25),  # few once, but not for good
        (stairs(9), SHIFTS[-1]),  # nowhere
    ):
        assert chosen(starts, 100, FOUND, FALSE)[0] == wanted
    assert chosen(NEVER, 100, FOUND, NEVER)[0] == 0


def test_miss_little_finds_most_with_three_times_the_false_alarms():
    """As many are found at -0.75 as at 0, 60 of 100; 80 at -1, 90 at -1.75."""
    for starts, false, wanted in (
        (NEVER, stairs(60, (-0.5, 20)), -1.75),  # thrice as many in the scenes
        (NEVER, stairs(61, (-1.5, 60), (-0.5, 20)), -1.0),
        (NEVER, stairs(61, (-0.5, 20)), 0.0),
        (stairs(6, (-0.5, 2)), FALSE, -1.75),  # thrice as many in the background
        (stairs(7, (-1.5, 6), (-0.5, 2)), FALSE, -1.0),
        (stairs(4, (-0.75, 0)), stairs(4, (-1, 0)), -1.75),  # two an hour
        (stairs(5, (-1.25, 0)), FALSE, -1.0),
    ):
        assert chosen(starts, 100, FOUND, false)[1] == wanted
    assert chosen(NEVER, 19, FOUND / 100 * 19, FALSE)[1] == 0  # of few sounds
    assert chosen(NEVER, 100, stairs(60, (1, 20)), FALSE)[1] == 0  # nothing more is found


@pytest.mark.parametrize(("starts", "hours", "wanted"), [(0, 2.0, 1.151), (3, 1.0, 6.681)])
def test_the_upper_bound_of_a_rate(starts, hours, wanted):
    """With that rate, so few starts or fewer come in a tenth of all cases."""
    rate = upper_bound(starts, hours)
    assert rate == pytest.approx(wanted, abs=1e-3)
    mean = rate * hours
    share = sum(np.exp(-mean) * mean**n / np.prod(np.arange(1, n + 1)) for n in range(starts + 1))
    assert share == pytest.approx(0.1)


class Ladder:
    """Scores the first class by level: loud 0.9, less so 0.6, quieter still 0.4, background 0.01."""

    def infer(self, log_mel):
        level = log_mel.reshape(len(log_mel), 32, -1).mean(axis=2)
        framewise = np.full((len(log_mel), 32, len(LABELS)), 0.01, np.float32)
        framewise[..., 0] = np.select([level > -15, level > -45, level > -75], [0.9, 0.6, 0.4], 0.01)
        return Scores(framewise, framewise.max(axis=1), np.zeros((len(log_mel), 1), np.float32))

    def close(self):
        pass


def write(path, gains):
    """Two seconds of noise every six, at these gains over something that nobody hears."""
    samples = np.random.default_rng(0).normal(0, 1e-5, (6 * len(gains) + 2) * RATE)
    for number, gain in enumerate(gains):
        begin = (6 * number + 3) * RATE
        samples[begin : begin + 2 * RATE] *= gain
    soundfile.write(path, samples, RATE, subtype="FLOAT")


LOUD, LESS, QUIETER = 3e4, 1e3, 3e1


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A bundle that is heard by its scores alone; scenes and two kinds of background."""
    bundle = tmp_path / "model"
    bundle.mkdir()
    content = json.loads((BUNDLED / "model.json").read_text()) | {"thresholds": {DOG: 0.5}, "levels": None}
    (bundle / "model.json").write_text(json.dumps(content))
    monkeypatch.setattr(levels, "open_backend", lambda *_: Ladder())
    write(tmp_path / "scene.wav", [LOUD] * 12 + [QUIETER] * 12)
    rows = "".join(f"scene.wav,{DOG},{6 * number + 3},{6 * number + 5}\n" for number in range(24))
    (tmp_path / "scenes.csv").write_text(f"file,class,onset,offset\n{rows}")
    for name, gains in (("quiet", [LESS, 1]), ("other", [LESS, LESS, LOUD])):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.wav", gains)
    return tmp_path


def run(files, *arguments):
    return main([str(a) for a in (files / "model", "--clips", files / "scenes.csv", *arguments)])


def test_the_command_writes_thresholds_with_the_false_alarms_of_other_hours(files, capsys):
    """The background has 0.6, 0.41 above a half in logits, and half of the sounds have 0.4: 0.5 each way will do."""
    before = json.loads((files / "model" / "model.json").read_text())
    options = ("--background", files / "quiet", "--measure", files / "other", "--material", "two yards")
    assert run(files, *options) == 0
    assert json.loads((files / "model" / "model.json").read_text()) == before
    assert run(files, *options, "--write") == 0
    info = load_bundle(files / "model").info
    found = info.levels
    dog, cat = found.classes[DOG], found.classes[CAT]
    assert (found.material, found.hours) == ("two yards", 0.00556)
    assert [level.threshold for level in (dog.few_false_alarms, dog.balanced, dog.miss_little)] == [0.62, 0.5, 0.38]
    hour = 3600 / 20
    counted = [level.false_alarms_per_h for level in (dog.few_false_alarms, dog.balanced, dog.miss_little)]
    assert counted == [hour, 3 * hour, 3 * hour]
    assert dog.few_false_alarms.at_most_per_h == round(upper_bound(1, 20 / 3600), 2)
    assert cat.few_false_alarms == cat.balanced == cat.miss_little
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith(CAT))
    assert row.rstrip().endswith("balanced is few_false_alarms and miss_little")
    assert "flatters" not in out
    after = json.loads((files / "model" / "model.json").read_text())
    assert after == before | {"levels": after["levels"]}


def test_the_same_background_is_said_to_flatter(files, capsys):
    assert run(files, "--background", files / "quiet") == 0
    assert "chosen on the same background, which flatters" in capsys.readouterr().out


def test_material_that_says_too_little_is_refused_in_one_line(files, capsys):
    rows = f"file,class\nquiet/a.wav,{DOG}\n"
    (files / "dogs.csv").write_text(rows)
    assert run(files, "--background", files / "dogs.csv") == 2
    assert "--background: names no recording without a sound" in capsys.readouterr().err
    (files / "scenes.csv").write_text(f"file,class\nscene.wav,{DOG}\n")
    assert run(files, "--background", files / "quiet") == 2
    err = capsys.readouterr().err
    assert "levels need labels of the model that say when sounds begin and end" in err
    assert len(err.splitlines()) == 1
