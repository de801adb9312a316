"""How alarms are measured, with a model that hears levels alone."""

import csv
import json

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation import alarm_sets, alarms
from htsat_edge.evaluation.alarm_sets import (
    AFTER_S,
    LEAD_S,
    RINGS_S,
    held_alarms,
    over_noise,
    plain,
    recorded,
    ringing,
)
from htsat_edge.evaluation.alarms import PIECE_S, AlarmFigures, FalseAlarms, HeardAlarm, hear, main, rows_of
from htsat_edge.evaluation.plain_alarms import ALARMS, PATTERNS, RATE, Alarm
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

SMOKE, SIREN = ALARMS[:2]
INFO = load_bundle(BUNDLED).info.model_copy(
    update={"labels": ["Dog", SMOKE, SIREN], "thresholds": {}, "median_steps": {}, "levels": None, "parents": {}}
)


class Loud:
    """Gives smoke alarms a score of 0.9 in the steps that are loud."""

    def infer(self, log_mel):
        levels = log_mel.reshape(len(log_mel), INFO.steps, -1).mean(axis=2)
        framewise = np.zeros((len(log_mel), INFO.steps, len(INFO.labels)), np.float32)
        framewise[..., 1] = np.where(levels > -30, 0.9, 0.01)
        return Scores(framewise, framewise.max(axis=1), np.zeros((len(log_mel), 1), np.float32))

    def close(self):
        pass


def hiss(seconds, level=0.1, seed=0):
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def test_noise_is_as_far_below_the_sounding_parts_as_asked_and_there_before():
    pulses = np.concatenate([hiss(1), np.zeros(RATE, np.float32), hiss(1)])
    (mixed,) = over_noise([Alarm("T", SMOKE, pulses, ((0, 1), (2, 3)))], [hiss(1, 0.01, seed=1)], 10)
    assert len(mixed.samples) == round((LEAD_S + 3 + AFTER_S) * RATE)
    assert mixed.sounding == ((LEAD_S, LEAD_S + 1), (LEAD_S + 2, LEAD_S + 3))
    power = [np.square(mixed.samples[round(a * RATE) : round(b * RATE)]).mean() for a, b in ((0, 4), (4, 5), (5, 6))]
    assert 10 * np.log10(power[1] / power[0] - 1) == pytest.approx(10, abs=0.1)
    assert power[2] == pytest.approx(power[0], rel=0.05)
    assert np.abs(mixed.samples).max() == pytest.approx(0.5)


def test_a_recording_rings_on_at_its_own_level():
    alarm = ringing(Alarm("bell", SMOKE, hiss(3), ((0, 3),)))
    assert alarm.whole == (LEAD_S, LEAD_S + 9, SMOKE)
    assert alarm.whole.offset_s - LEAD_S >= RINGS_S
    sounding = alarm.samples[round(LEAD_S * RATE) : round((LEAD_S + 9) * RATE)]
    assert sounding.std() == pytest.approx(0.1, rel=0.02)
    assert 0 < alarm.samples[:RATE].std() < 0.002


def test_latency_is_from_the_first_onset_to_the_start_and_another_class_is_not_it():
    detector = Detector(INFO, Loud(), RATE)
    samples = np.concatenate([hiss(4, 1e-5), hiss(3), hiss(4, 1e-5)])
    found = hear(detector, Alarm("T3", SMOKE, samples, ((4.0, 7.0),)))
    twin, starts = Detector(INFO, Loud(), RATE), []
    for at in range(0, len(samples), 320):  # it hears 10 ms at a time
        started = [event for event in twin.push(samples[at : at + 320]) if event.type == "start"]
        starts += [twin.duration_s] * len(started)
    assert 0 < starts[0] - 4 <= found.latency_s <= starts[0] - 4 + PIECE_S
    assert found.reported == {SMOKE}
    other = hear(detector, Alarm("wail", SIREN, samples, ((4.0, 7.0),)))
    assert (other.latency_s, other.reported) == (None, {SMOKE})
    late = hear(detector, Alarm("T3", SMOKE, samples, ((9.5, 10.5),)))
    assert (late.latency_s, late.reported) == (None, frozenset())


def test_figures_of_a_worked_example():
    times = [0.5, 1.0, 2.5, None]
    heard = [HeardAlarm("T3", SMOKE, time, frozenset([SMOKE] if time else [SIREN])) for time in times]
    heard += [HeardAlarm("T4", SMOKE, None, frozenset()), HeardAlarm("wail", SIREN, 1.0, frozenset([SIREN]))]
    assert {name: len(own) for name, own in rows_of(heard).items()} == {
        "all": 6, SMOKE: 5, "  T3": 4, "  T4": 1, SIREN: 1,
    }  # fmt: skip
    found = AlarmFigures.of(heard[:5])
    assert (found.alarms, found.found, found.as_any) == (5, 3, 4)
    assert found.latency_s == pytest.approx((1.0, 2.35))
    assert found.cells()[0] == "3 of 5"
    assert AlarmFigures.of(heard[4:5]).cells() == ["0 of 1", "0.00–0.95", "0", "–", "–"]
    assert str(FalseAlarms(labels={SIREN: 1}, hours=12)) == "2.0 false alarms a day (0.1–9.5), in 12.00 h: Siren 1"


def write(folder, rows):
    folder.mkdir()
    for number, (name, row) in enumerate(rows):
        soundfile.write(folder / name, hiss(2, seed=number), RATE)
        row["file"] = name
    with (folder / "manifest.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["file", "class", "onset", "offset", "group", "split"])
        table.writeheader()
        table.writerows(row for _, row in rows)
    return folder / "manifest.csv"


def test_held_alarms_have_their_own_times_and_most_are_spread(tmp_path):
    row = {"class": SMOKE, "onset": 0.5, "offset": 1.5, "split": "val"}
    rows = [(f"{k}.wav", row | {"group": f"t3/{k}"}) for k in range(5)]
    rows += [("dog.wav", row | {"class": "Dog"}), ("train.wav", row | {"split": "train", "group": "t4/0"})]
    manifest = write(tmp_path / "alarms", rows)
    found = [*recorded(held_alarms("--alarms", [manifest]))]
    assert [one.kind for one in found] == ["t3"] * 5
    assert found[0].whole == (0.5, 1.5, SMOKE)
    two = [*recorded(held_alarms("--alarms", [manifest], most=2))]
    for one, wanted in zip(two, (found[0], found[4]), strict=True):
        np.testing.assert_array_equal(one.samples, wanted.samples)


def test_each_pattern_is_rendered(monkeypatch):
    monkeypatch.setattr(alarm_sets, "PATTERNS", {"T4": PATTERNS["T4"], "DTMF": PATTERNS["DTMF"]})
    assert [(one.kind, one.label) for one in plain(2)] == [("T4", SMOKE)] * 2 + [("DTMF", "Telephone")] * 2


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    content = json.loads((BUNDLED / "model.json").read_text())
    content |= {"labels": INFO.labels, "thresholds": {}, "median_steps": {}, "levels": None}
    (folder / "model.json").write_text(json.dumps({k: v for k, v in content.items() if k != "quantization"}))
    monkeypatch.setattr(alarms, "open_remembered", lambda *_, **__: Loud())
    return folder


def test_the_command_prints_and_writes_every_set(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(alarm_sets, "PATTERNS", {"T3": PATTERNS["T3"], "DTMF": PATTERNS["DTMF"]})
    real = write(
        tmp_path / "real", [("a.wav", {"class": SMOKE, "split": "val"}), ("b.wav", {"class": SIREN, "split": "val"})]
    )
    noise = write(tmp_path / "noise", [("a.wav", {"class": "background", "split": "val"})])
    out = tmp_path / "alarms.json"
    arguments = ["--plain", "1", "--recordings", real, "--noise", noise, "--background", noise, "--json", out]
    assert main([str(argument) for argument in [bundle, *arguments]]) == 0
    (found,) = json.loads(out.read_text()).values()
    noisy, recordings, false = found.values()
    assert noisy["all"]["alarms"] == 1  # DTMF is of a class that the model does not know
    assert (recordings[SMOKE]["found"], recordings[SIREN]["found"], recordings[SIREN]["as_any"]) == (1, 0, 1)
    assert false["labels"] == {SMOKE: 1}
    assert "false alarms a day" in capsys.readouterr().out


def figures(bundle, tmp_path, *arguments):
    out = tmp_path / "alarms.json"
    assert main([str(argument) for argument in [bundle, *arguments, "--json", out]]) == 0
    (found,) = json.loads(out.read_text()).values()
    return found


def test_the_command_plays_as_many_of_each_held_class_as_asked_over_noise(bundle, tmp_path):
    row = {"class": SMOKE, "onset": 0.5, "offset": 1.5, "split": "val"}
    rows = [(f"{k}.wav", row | {"group": f"t{k}/0"}) for k in range(4)]
    rows += [("siren.wav", row | {"class": SIREN, "group": "wail/0"}), ("train.wav", row | {"split": "train"})]
    held = write(tmp_path / "alarms", rows)
    noise = write(tmp_path / "noise", [("a.wav", {"class": "Hum", "split": "val"})])
    arguments = ["--alarms", held, "--noise", noise, "--snr", "20"]
    (every,) = figures(bundle, tmp_path, *arguments).values()
    assert {name: own["alarms"] for name, own in every.items()} == {
        "all": 5, SMOKE: 4, "t0": 1, "t1": 1, "t2": 1, "t3": 1, SIREN: 1,
    }  # fmt: skip
    (most,) = figures(bundle, tmp_path, *arguments, "--most", "2").values()
    assert {name: own["alarms"] for name, own in most.items()} == {"all": 3, SMOKE: 2, "t0": 1, "t3": 1, SIREN: 1}


def test_a_split_governs_every_set(bundle, tmp_path):
    """What names no split is played in any case."""
    row = {"class": SMOKE}
    splits = [("val", "val"), ("test", "test"), ("test", "also"), ("train", "train")]
    held = write(tmp_path / "held", [(f"{name}.wav", row | {"split": split}) for split, name in splits])
    noise = write(tmp_path / "noise", [("a.wav", {"class": "background", "split": ""})])
    quiet = write(
        tmp_path / "quiet", [(f"{split}.wav", {"class": "background", "split": split}) for split in ("val", "test")]
    )
    arguments = ["--alarms", held, "--recordings", held, "--noise", noise, "--background", quiet]
    for split, alarms_played, minutes in (([], 3, 2), (["--split", "val"], 1, 1), (["--split", "test"], 2, 1)):
        noisy, recordings, false = figures(bundle, tmp_path, *arguments, *split).values()
        assert (noisy["all"]["alarms"], recordings["all"]["alarms"]) == (alarms_played, alarms_played)
        assert false["hours"] == pytest.approx(minutes / 60)


def test_silent_and_damaged_alarms_are_left_out(bundle, tmp_path, capsys):
    """A silent one has no power that noise could be below."""
    row = {"class": SMOKE, "onset": 0.5, "offset": 1.5, "split": "val"}
    held = write(tmp_path / "alarms", [(f"{k}.wav", dict(row)) for k in range(20)])
    noise = write(tmp_path / "noise", [("a.wav", {"class": "background", "split": "val"})])
    soundfile.write(tmp_path / "alarms" / "3.wav", np.zeros(2 * RATE), RATE)
    soundfile.write(tmp_path / "alarms" / "4.wav", hiss(0.8), RATE)
    (found,) = figures(bundle, tmp_path, "--alarms", held, "--noise", noise).values()
    assert found["all"]["alarms"] == 18
    out = capsys.readouterr().out
    assert "1 silent" in out
    assert "1 labelled beyond the end" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--alarms", "other", "--noise", "hum"], "--alarms: holds back no recording of Smoke detector"),
        (["--recordings", "other"], "--recordings: holds back no recording of Smoke detector"),
        (["--plain", "1", "--noise", "other"], "--noise: holds back no recording of background"),
        (["--plain", "1", "--noise", "bare"], "--noise: 0.wav has no class"),
        (["--plain", "1", "--noise", "hum", "--background", "real"], "--background: holds back no recording without"),
        (["--plain", "1", "--noise", "hum", "--background", "bare"], "--background: 0.wav has no class"),
        (["--plain", "1", "--noise", "hum", "--split", "test"], "--noise: holds back no recording of background"),
    ],
)
def test_sets_that_hold_back_nothing_are_one_line(bundle, tmp_path, arguments, message, capsys):
    for name, label in (("other", "Dog"), ("hum", "Hum"), ("real", SMOKE)):
        write(tmp_path / name, [("0.wav", {"class": label, "split": "val"})])
    (tmp_path / "bare").mkdir()
    soundfile.write(tmp_path / "bare" / "0.wav", hiss(2), RATE)
    places = {name: tmp_path / name for name in ("other", "hum", "real", "bare")}
    assert main([str(bundle), *(str(places.get(argument, argument)) for argument in arguments)]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "give alarms to play"), (["--plain", "1"], "need --noise"), (["--plain", "x"], "not a whole number")],
)
def test_bad_arguments_are_one_line(bundle, arguments, message, capsys):
    try:
        status = main([str(bundle), *arguments])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_model_without_alarms_is_one_line(tmp_path, capsys):
    real = write(tmp_path / "real", [("a.wav", {"class": SMOKE, "split": "val"})])
    folder = tmp_path / "model"
    folder.mkdir()
    content = json.loads((BUNDLED / "model.json").read_text()) | {"labels": ["Dog"], "thresholds": {}, "levels": None}
    (folder / "model.json").write_text(json.dumps(content | {"median_steps": {}}))
    assert main([str(folder), "--recordings", str(real)]) == 2
    assert "knows none of" in capsys.readouterr().err
