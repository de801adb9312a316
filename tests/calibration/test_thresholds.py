"""Thresholds chosen for the runtime's operating point, with a model whose scores are known."""

import json

import numpy as np
import pytest
import soundfile
from scipy.special import expit, logit

from htsat_edge.calibration import thresholds
from htsat_edge.calibration.shifts import ClassCounts, ShiftedListener, count, shifted
from htsat_edge.calibration.thresholds import HIGHER, SHIFTS, HeardOthers, choose, choose_quietly, main
from htsat_edge.evaluation.labels import Occurrence
from htsat_edge.evaluation.latency import HeardRecording, Report, listen, scorer
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, ModelInfo, load_bundle
from htsat_edge.runtime.models.settings import Settings

INFO = load_bundle(BUNDLED).info.model_copy(update={"median_steps": {}, "thresholds": {}, "levels": None})
DOG, CAT = INFO.labels[:2]
PLACE = {float(shift): i for i, shift in enumerate(SHIFTS)}


def counts(*found):
    """Ten sounds of each class, found in the given share at each shift without a false alarm."""
    shares = np.array(found).T
    return ClassCounts(np.full(shares.shape, 10.0), 10 * shares, 10 * shares, np.zeros(shares.shape))


def peak(at, height=1.0):
    return [height if shift == at else 0.2 for shift in SHIFTS]


def test_the_f_score_of_a_worked_example():
    found = ClassCounts(*(np.full((len(SHIFTS), 1), number) for number in (10.0, 4.0, 8.0, 3.0)))
    np.testing.assert_allclose(found.f_scores(), 1.75 * 0.625 * 0.4 / (0.75 * 0.625 + 0.4))


def test_a_class_goes_its_own_way_as_far_as_its_recordings_allow():
    """Two of three classes are best at 0.8, so that is common; n of n + 5 of the way is whose own."""
    found = counts(peak(0.0), peak(0.8), peak(0.8))
    for recordings, wanted in ((0, 0.8), (5, 0.4), (15, 0.2), (995, 0.0)):
        assert SHIFTS[choose(found, [recordings, 5, 5])].tolist() == [wanted, 0.8, 0.8]


def test_nothing_moves_for_chance_and_a_class_without_sounds_moves_with_the_others():
    assert SHIFTS[choose(counts([0.5] * 6 + [0.501] * 8), [50])].tolist() == [0.0]
    found = counts(peak(0.6), [0.0] * len(SHIFTS))
    found.sounds[:, 1] = 0
    assert SHIFTS[choose(found, [50, 50])].tolist() == [0.6, 0.6]


def test_thresholds_are_shifted_in_logits_from_those_of_the_bundle_or_a_half():
    info = INFO.model_copy(update={"thresholds": {DOG: 0.2, CAT: 0.995}})
    found = shifted(info, SHIFTS)
    assert found[PLACE[0.0]] == {label: info.thresholds.get(label, 0.5) for label in info.labels}
    assert [found[PLACE[x]][DOG] for x in (-0.3, 0.6, 1.0)] == [0.16, 0.31, 0.4]
    assert [found[PLACE[x]][CAT] for x in (-0.3, 0.6)] == [0.99, 0.995]
    assert found[PLACE[0.6]][INFO.labels[2]] == 0.65


def test_sounds_and_starts_are_counted_by_class():
    bark, meow = Occurrence(1.0, 2.0, DOG), Occurrence(5.0, 6.0, CAT)
    reports = [
        Report(label, at_s, at_s + 1, Occurrence(at_s, at_s + 1, label)) for label, at_s in ((DOG, 1.1), (DOG, 5.0))
    ]
    heard = [HeardRecording(9.0, None, [reports, *[[] for _ in SHIFTS[1:]]], [[] for _ in SHIFTS])]
    found = count([DOG, CAT], heard, [[bark, meow]])
    assert [table[0].tolist() for table in found] == [[1, 1], [1, 0], [2, 0], [1, 0]]
    assert [table[1].tolist() for table in found] == [[1, 1], [0, 0], [0, 0], [0, 0]]


class Levels:
    """Scores the first class by level: 0.9 for what is loud, 0.585 for what is less so."""

    def infer(self, log_mel):
        level = log_mel.reshape(len(log_mel), INFO.steps, -1).mean(axis=2)
        framewise = np.full((len(log_mel), INFO.steps, len(INFO.labels)), 0.01, np.float32)
        framewise[..., 0] = np.select([level > -35, level > -65], [0.9, 0.585], 0.01)
        return Scores(framewise, framewise.max(axis=1), np.zeros((len(log_mel), 1), np.float32))

    def close(self):
        pass


@pytest.fixture
def clips(tmp_path):
    """A recording of two loud sounds of the first class, and three that are half as loud and of no class."""
    samples = np.random.default_rng(0).normal(0, 1e-5, 30 * 16_000)
    for begin_s, gain in ((3, 3e4), (8, 1e3), (13, 3e4), (18, 1e3), (23, 1e3)):
        samples[begin_s * 16_000 : (begin_s + 2) * 16_000] *= gain
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    (tmp_path / "scenes.csv").write_text(f"file,class,onset,offset\na.wav,{DOG},3,5\na.wav,{DOG},13,15\n")
    for number in range(15):
        soundfile.write(tmp_path / f"held{number}.wav", 20 * samples[: 16_000 + number], 16_000)  # heard by no class
    rows = "".join(f"held{number}.wav,{DOG},val\n" for number in range(15))
    (tmp_path / "sources.csv").write_text(f"file,class,split\n{rows}")
    return tmp_path / "scenes.csv"


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A model that is heard by its scores alone."""
    folder = tmp_path / "model"
    folder.mkdir()
    own = {"thresholds": {}, "median_steps": {CAT: 3}, "levels": None}
    content = json.loads((BUNDLED / "model.json").read_text()) | own
    (folder / "model.json").write_text(json.dumps(content))
    monkeypatch.setattr(thresholds, "open_remembered", lambda *_: Levels())
    return folder


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_the_command_raises_a_threshold_over_what_is_false_and_changes_nothing_else(bundle, clips, tmp_path, capsys):
    """A score of 0.585 is 0.34 over a half in logits: at 0.4 it starts no event."""
    before = json.loads((bundle / "model.json").read_text())
    out = tmp_path / "thresholds.json"
    for _ in range(2):  # what it wrote itself may be written again
        assert run(bundle, "--clips", clips, "--sources", tmp_path / "sources.csv", "--out", out) == 0
    assert json.loads((bundle / "model.json").read_text()) == before
    wanted = round(float(expit(0.4)), 2)
    assert json.loads(out.read_text()) == {
        "thresholds": dict.fromkeys(INFO.labels, wanted),
        "median_steps": {CAT: 3},
    }
    assert logit(0.585) == pytest.approx(0.34, abs=0.01)
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(DOG))
    assert row[1:] == ["2", "15", "0.5", "0.6", "1.00", "1.00", "360.0", "0.0"]
    assert run(bundle, "--clips", clips, "--no-median", "--write") == 0
    after = json.loads((bundle / "model.json").read_text())
    assert after == before | {"thresholds": dict.fromkeys(INFO.labels, wanted), "median_steps": {}}
    assert list(after) == list(before)
    assert ModelInfo.model_validate(after) == load_bundle(bundle).info


def test_levels_beside_former_thresholds_are_dropped_and_it_is_said(bundle, clips, capsys):
    """They would be refused: balanced is what the thresholds say."""
    path = bundle / "model.json"
    level = {"threshold": 0.5, "false_alarms_per_h": 0, "at_most_per_h": 1}
    own = {DOG: dict.fromkeys(("few_false_alarms", "balanced", "miss_little"), level)}
    levels = {"material": "a yard", "hours": 2.3, "classes": own}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"levels": levels}))
    assert load_bundle(bundle).info.levels is not None
    assert run(bundle, "--clips", clips, "--write") == 0
    assert "levels of sensitivity are gone" in capsys.readouterr().out
    assert load_bundle(bundle).info.levels is None


ALL = [*SHIFTS, *HIGHER]
TILL = {shift: np.array(ALL) < shift for shift in (0.5, 2.0, 9.0)}
"""Where starts go on until a threshold is so much higher."""


def test_all_are_raised_alike_over_other_sounds_and_each_alone_over_ambience():
    """Both classes are found at every shift, so that nothing else moves them."""
    found = counts([0.9] * len(ALL), [0.9] * len(ALL))
    others = np.zeros((10, len(ALL), 2), bool)
    others[3, :, 0] = TILL[2.0]
    for most, wanted in ((0.1, [0.0, 0.0]), (0.05, [2.0, 2.0])):
        quiet = HeardOthers(others, np.zeros((len(ALL), 2)), 0.0)
        assert np.array(ALL)[choose_quietly(found, [50, 50], quiet, most, 1)].tolist() == wanted
    for most, wanted in ((2, [0.0, 0.0]), (1.5, [0.5, 0.0]), (1, [0.5, HIGHER[-1]])):
        quiet = HeardOthers(others[:0], np.stack([4.0 * TILL[0.5], 3.0 * TILL[9.0]], axis=1), 2.0)
        assert np.array(ALL)[choose_quietly(found, [50, 50], quiet, 0, most)].tolist() == wanted


def test_what_can_not_be_met_ends_at_the_highest_thresholds():
    found, others = counts([0.9] * len(ALL)), np.ones((3, len(ALL), 1), bool)
    quiet = HeardOthers(others, np.zeros((len(ALL), 1)), 0.0)
    assert np.array(ALL)[choose_quietly(found, [50], quiet, 0.05, 1)].tolist() == [HIGHER[-1]]


def test_one_pass_hears_what_a_pass_at_each_threshold_would(bundle, clips, tmp_path):
    """The twin plays the recording once for each shift."""
    score = scorer(Levels())
    points = [Settings(thresholds=own, most_specific=False) for own in shifted(INFO, SHIFTS)]
    wanted = listen(tmp_path / "a.wav", INFO, points, score, with_gap=False)
    found = ShiftedListener(INFO, SHIFTS.tolist(), score).hear(tmp_path / "a.wav")
    assert found.duration_s == wanted.duration_s
    assert found.whole == wanted.whole
    assert len({len(reports) for reports in wanted.whole}) > 1


def test_other_sounds_raise_the_threshold_as_far_as_they_reach(bundle, clips, tmp_path, capsys):
    """What is loud is a zither: only above its score no event starts."""
    scenes, others = clips.read_text(), tmp_path / "others.csv"
    clips.write_text(scenes)
    rows = [
        "a.wav,Zither,val",
        f"held0.wav,{DOG},val",
        "held1.wav,background,val",
        "held2.wav,Organ,train",
        "held3.wav,Drum,test",
    ]
    others.write_text("\n".join(["file,class,split", *rows]) + "\n")
    out = tmp_path / "thresholds.json"
    arguments = [bundle, "--clips", clips, "--others", others, "--out", out]
    assert run(*arguments, "--most-others", "1") == 0
    assert json.loads(out.read_text())["thresholds"][DOG] == 0.6
    assert run(*arguments) == 0
    assert json.loads(out.read_text())["thresholds"][DOG] == 0.92  # above 0.9
    printed = capsys.readouterr().out
    assert "1 recordings of other sounds: 100.0 % raised an event before, 0.0 % after" in printed
    assert "0.00 h of ambience: 0.0 false alarms an hour before, 0.0 after" in printed


def test_others_without_any_to_choose_by_are_one_line(bundle, clips, tmp_path, capsys):
    others = tmp_path / "others.csv"
    others.write_text(f"file,class,split\nheld0.wav,{DOG},val\nheld1.wav,Drum,test\n")
    assert run(bundle, "--clips", clips, "--others", others) == 2
    assert "--others: hold back no recording" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (f"file,class\na.wav,{DOG}\n", "need labels that say when sounds begin and end"),
        ("file,class,onset,offset\na.wav,background,,\n", "need labels that say when sounds begin and end"),
        ("file,class,onset,offset\na.wav,Dogg,1,2\n", "has class 'Dogg', which is no label of the model"),
    ],
)
def test_recordings_that_say_too_little_are_refused_in_one_line(table, message, bundle, clips, capsys):
    clips.write_text(table)
    assert run(bundle, "--clips", clips) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_what_is_not_ours_is_left_alone(bundle, clips, tmp_path, capsys):
    mine = tmp_path / "mine.json"
    mine.write_text('{"mine": 1}')
    assert run(bundle, "--clips", clips, "--out", mine) == 2
    assert "was not written by htsat-edge" in capsys.readouterr().err
    assert mine.read_text() == '{"mine": 1}'


def test_sources_of_other_classes_are_refused(bundle, clips, tmp_path, capsys):
    sources = tmp_path / "sources.csv"
    sources.write_text(sources.read_text().replace(DOG, "Zither"))
    assert run(bundle, "--clips", clips, "--sources", sources) == 2
    assert "--sources: hold back no recording, to choose by, of a label of the model" in capsys.readouterr().err


def test_sources_that_are_only_measured_on_do_not_count(bundle, clips, tmp_path, capsys):
    sources = tmp_path / "sources.csv"
    sources.write_text(sources.read_text().replace(f"held3.wav,{DOG},val", f"held3.wav,{DOG},test"))
    assert run(bundle, "--clips", clips, "--sources", sources) == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(DOG))
    assert row[2] == "14"


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--most-others", "nan", "'nan' is not a number from 0 to 1"),
        ("--most-others", "8", "'8' is not a number from 0 to 1"),
        ("--most-others", "-0.1", "'-0.1' is not a number from 0 to 1"),
        ("--most-per-h", "-1", "'-1' is not a number from 0 on"),
        ("--most-per-h", "inf", "'inf' is not a number from 0 on"),
        ("--most-per-h", "few", "'few' is not a number from 0 on"),
    ],
)
def test_bounds_that_mean_nothing_are_one_line(bundle, clips, option, text, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run(bundle, "--clips", clips, "--others", clips, option, text)
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
