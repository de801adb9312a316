"""`htsat-edge tune`: from a store to thresholds in the configuration."""

import json
import math
import re
import shutil
import time
from contextlib import closing
from datetime import datetime, timezone
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from htsat_edge.runtime.commands import tune
from htsat_edge.runtime.commands.plot import has_mark
from htsat_edge.runtime.commands.tune import choose, unmet
from htsat_edge.runtime.commands.tune_report import duration, number, print_overview
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.records import Verdict
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.store.writes import ScoreRow, SourceSetup
from htsat_edge.runtime.tuning.records import TuneOverview

AT = 1_777_663_800.0
STEP_S, ROW, HOURS = 0.32, 180, 6
EVERY_S = 600
"""A dog in the yard, louder each time: 36 in 6 h."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A store of a yard with 36 dogs and 1 bird, and of a gate with 2 dogs."""
    path = tmp_path_factory.mktemp("store") / "events.db"
    info = load_bundle().info
    setup = Setup.of(info, Settings(thresholds={"Dog": 0.3, "Bird": 0.3}))
    peaks = {"yard": {"Dog": np.linspace(0.35, 0.95, 36), "Bird": [0.6]}, "gate": {"Dog": [0.5, 0.999]}}
    with closing(Database(path)) as database, database:
        session = database.session("one", AT)
        for source, sounds in peaks.items():
            write(database, session, source, setup, sounds)
    return path


@pytest.fixture
def heard(made, tmp_path):
    return shutil.copy(made, tmp_path / "events.db")


def write(database, session, source, setup, sounds):
    scores = np.full((math.ceil(HOURS * 3600 / STEP_S / ROW) * ROW, len(setup.labels)), 0.01, np.float32)
    database.put(session, SourceSetup(source, setup), AT)
    for label, peaks in sounds.items():
        for k, peak in enumerate(peaks):
            first = round((100 + 50 * (label == "Bird") + k * EVERY_S) / STEP_S)
            scores[first : first + 6, setup.labels.index(label)] = peak
            onset, offset = round(first * STEP_S, 4), round((first + 6) * STEP_S, 4)
            common = {"source": source, "id": 100 * (label == "Bird") + k + 1, "time": time_of(onset)}
            event = EventEnd(label=label, onset=onset, offset=offset, score=float(peak), **common)
            database.put_event(session, event, AT + onset)
    for first in range(0, len(scores), ROW):
        row = scores[first : first + ROW]
        onset = first * STEP_S
        database.put(session, ScoreRow(source, onset, STEP_S, time_of(onset), row, setup.limits()), AT + onset)


def time_of(onset):
    return format_time(datetime.fromtimestamp(AT + onset, timezone.utc))


@pytest.fixture
def config(tmp_path, heard):
    """A daemon's configuration, with the store."""
    path = tmp_path / "detector.yaml"
    path.write_text(
        "# mine\n"
        "detection:\n"
        "  thresholds: {Dog: 0.3, Bird: 0.3}   # barks\n\n"
        "sources:\n"
        "- name: yard\n"
        "  file: yard.wav   # a\n"
        "- {name: gate, file: gate.wav}\n"
        f"outputs: {{store: {{path: '{heard}'}}}}\n"
    )
    return path


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(tune, "TAKEN_OVER_S", 0.0)


@pytest.fixture
def daemon(heard):
    """Report something as a daemon does that has seen a changed file, an hour from now."""

    def report(state, text):
        at = time.time() + 3600
        with closing(Database(heard)) as database, database:
            session = database.session("two", at)
            message = json.dumps({"type": "status", "state": state, "text": text})
            database.add_status(session, 1, at, source=None, state=state, time=None, message=message)

    return report


def row_of(out, name):
    return next(line.split() for line in out.splitlines() if re.match(rf"{name}\b +\d", line))


def test_what_is_reported_too_often_and_which_threshold_would_help(command, config):
    status, out, err = command("tune", "--config", config, "--source", "yard", "--per-day", 40)
    assert (status, err) == (0, "")
    assert "yard  6.0 h heard" in out
    dog, bird = row_of(out, "Dog"), row_of(out, "Bird")
    assert dog[:3] == ["Dog", "0.3", "36"]
    assert dog[3] == "144"  # a day
    assert 0.77 < float(dog[5]) < 0.8  # the ten loudest of 36
    assert dog[6] == "40"
    assert bird[:4] == ["Bird", "0.3", "1", "4"]
    assert "Speech" not in out
    assert "--label Dog --apply writes it" in out


def test_a_curve_in_text_with_verdicts(command, config, heard):
    put_verdicts(heard, [Verdict(event=key, decision="wrong" if key < 20 else "correct") for key in range(1, 37)])
    status, out, err = command("tune", "--config", config, "--source", "Yard", "--label", "DOG")
    assert (status, err) == (0, "")
    assert row_of(out, "Dog")[5] == "17/19"
    lines = [line.split() for line in out[out.index("threshold") :].splitlines()]
    thresholds = [float(words[0]) for words in lines if re.match(r"0\.\d+$", (words or [""])[0])]
    assert 10 <= len(thresholds) <= 13
    assert thresholds == sorted(thresholds)
    assert [words[0] for words in lines if words[-1:] == ["now"]] == ["0.3"]
    rights = [int(words[words.index("%") - 1]) for words in lines if "%" in words and words[1] != "0"]
    assert rights == sorted(rights)
    assert rights[0] < 60 < rights[-1]


def test_a_dry_run_prints_the_difference_the_events_and_the_command_that_writes_it(command, config):
    before = config.read_bytes()
    asked = ("tune", "--config", config, "--source", "yard", "--per-day", 40)
    status, out, err = command(*asked, "--dry-run")
    assert (status, err) == (0, "")
    assert "+  file: yard.wav   # a" not in out
    assert re.search(r"^\+  detection:\n\+    thresholds:\n\+      Dog: 0\.[78]\d*$", out, re.MULTILINE)
    assert "26 stored events would not be: Dog 26; 144 a day -> 40 a day" in out
    assert f"htsat-edge tune --config {config} --source yard --days 7 --per-day 40 --label Dog --apply" in out
    assert config.read_bytes() == before
    status, out, _ = command(*asked, "--dry-run", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["source"] for record in records[:-1]] == ["yard"]
    assert records[-1]["gone_total"] == len(records[-1]["gone"]) == 26


def test_a_source_with_its_own_threshold_keeps_its_events(command, config):
    config.write_text(config.read_text().replace("gate.wav}", "gate.wav, detection: {thresholds: {Dog: 0.3}}}"))
    _, out, _ = command("tune", "--config", config, "--per-day", 40, "--label", "Dog", "--dry-run")
    assert "26 stored events would not be: Dog 26; 152 a day -> 48 a day" in out
    assert "note: gate keeps its own threshold of Dog, 0.3" in out


def test_a_source_that_does_not_report_a_class_is_not_asked_for_it(command, config, heard):
    quiet = Setup.of(load_bundle().info, Settings(labels=["Bird"], thresholds={"Bird": 0.3}))
    with closing(Database(heard)) as database, database:
        database.put(database.session("two", AT + 86_400), SourceSetup("gate", quiet), AT + 86_400)
    status, out, err = command("tune", "--config", config, "--label", "Dog", "--json")
    assert (status, err) == (0, "")
    assert {json.loads(line)["source"] for line in out.splitlines()} == {"yard"}


def test_nothing_is_written_for_all_where_a_source_stays_too_often(command, config):
    """A dog of 0.999 in 6 h is 4 a day with any threshold."""
    status, out, err = command("tune", "--config", config, "--label", "Dog", "--per-day", 3, "--dry-run")
    assert (status, err) == (0, "")
    assert "no threshold of Dog keeps gate to 3 a day" in " ".join(out.split())
    assert "other ways: --per-day N allows more; in the configuration, `cooldown_s` and `quiet_hours`" in out
    assert "@@" not in out


def test_it_is_written_for_all_sources_and_the_daemon_is_heard(command, config, daemon):
    before = config.read_text()
    daemon("config_loaded", "thresholds: Dog 0.3 -> 0.8")
    status, out, err = command("tune", "--config", config, "--per-day", 40, "--label", "Dog", "--apply")
    assert (status, err) == (0, "")
    assert "in force: thresholds: Dog 0.3 -> 0.8" in out
    now = read_yaml(config, DaemonConfig).detection.thresholds
    assert 0.77 < now["Dog"] < 0.8
    assert config.read_text() == before.replace("Dog: 0.3", f"Dog: {now['Dog']}")
    (backup,) = config.parent.glob("detector.yaml.*")
    assert backup.read_text() == before
    assert str(backup) in out.replace("\n", "")
    _, out, _ = command("tune", "--config", config, "--per-day", 40, "--label", "Dog", "--apply")
    assert f"nothing to change: {config} has these thresholds" in out
    assert [*config.parent.glob("detector.yaml.*")] == [backup]


def test_without_a_daemon_that_is_said(command, config, impatient):
    status, out, _ = command("tune", "--config", config, "--per-day", 40, "--label", "Dog", "--apply")
    assert status == 0
    assert "no daemon has reported" in out


def test_a_daemon_that_rejects_the_file_is_a_failed_check(command, config, daemon):
    daemon("config_rejected", "outputs.mqtt: no broker")
    status, _, err = command("tune", "--config", config, "--per-day", 40, "--label", "Dog", "--apply")
    assert status == 1
    assert "the daemon has rejected the configuration: outputs.mqtt: no broker; the one before is" in err


def test_a_picture(command, config, tmp_path):
    pytest.importorskip("matplotlib")
    status, _, err = command("tune", "--config", config, "--plot", tmp_path / "tune.png")
    assert (status, err) == (0, "")
    assert has_mark(tmp_path / "tune.png")


def overview(source, wanted=1.0, **classes):
    """Classes as rate, threshold in force and that which is suggested."""
    found = [
        SimpleNamespace(
            label=label,
            rate=SimpleNamespace(per_day=per_day),
            threshold=now,
            suggestion=None if then is None else SimpleNamespace(threshold=then),
        )
        for label, (per_day, now, then) in classes.items()
    ]
    return SimpleNamespace(source=source, wanted=wanted, classes=found)


def test_which_thresholds_are_chosen():
    """Of several sources the highest; lower than now only where it was asked for by name."""
    found = [
        overview("yard", Dog=(9, 0.3, 0.62), Bird=(0.2, 0.3, 0.1), Fire=(2, 0.5, 0.50001), Owl=(9, 0.3, 0.62)),
        overview("gate", Owl=(9, 0.3, None), Dog=(0.1, 0.3, 0.2), Bird=(0.2, 0.3, 0.15)),
    ]
    assert [(one.source, one.label, one.threshold) for one in choose(found, None, False)] == [(None, "Dog", 0.62)]
    chosen = [(one.source, one.label, one.threshold) for one in choose(found, "yard", True)]
    assert unmet(found) == {"Owl": ["gate"]}
    assert chosen == [("yard", "Dog", 0.62), ("yard", "Bird", 0.15)]


def test_what_is_refused_in_one_line(command, config, heard, tmp_path):
    def refused(*arguments):
        status, out, err = command("tune", *arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        return err

    assert "want --config FILE" in refused()
    assert "thresholds are written there" in refused("--database", heard, "--dry-run")
    assert "say for which sounds, --label Dog" in refused("--config", config, "--apply")
    assert "not allowed with" in refused("--config", config, "--apply", "--dry-run")
    assert "nothing is stored of it, meant yard?" in refused("--database", heard, "--source", "yrad")
    assert "is not reported there, meant Dog?" in refused("--database", heard, "--label", "Dgo")
    assert "is not a positive number" in refused("--database", heard, "--per-day", 0)
    assert refused("--database", heard, "--days", 60).endswith("--days 60: want at most 31\n")
    assert "want the name of a .png file" in refused("--database", heard, "--plot", tmp_path / "none" / "a.png")
    (tmp_path / "mine.png").write_bytes(b"mine")
    assert "was not written by htsat-edge" in refused("--database", heard, "--plot", tmp_path / "mine.png")
    config.write_text("web: null")
    assert "outputs.store is missing" in refused("--config", config)
    Database(tmp_path / "empty.db").close()
    assert "nothing was heard yet" in refused("--database", tmp_path / "empty.db")


@pytest.mark.parametrize(("heard_h", "noted"), [(0.5, True), (1.0, False), (0.0, False)])
def test_of_a_few_minutes_nothing_is_concluded(heard_h, noted, capsys):
    found = TuneOverview(
        source="yard", from_at=AT, to_at=AT + 3600, listened_h=heard_h, wanted=1.0, classes=[], note=""
    )
    print_overview(Console(), found)
    assert ("too little was heard" in capsys.readouterr().out) is noted


def test_numbers_have_as_many_digits_as_matter():
    assert [number(x) for x in (0, 0.004, 0.046, 0.72, 1.0, 9.84, 43.2, 267.4, None)] == [
        *("0", "0", "0.05", "0.72", "1", "9.8", "43", "267", ""),
    ]
    assert [duration(x) for x in (0.01, 0.1, 5, 165)] == ["36 s", "6 min", "5.0 h", "6.9 days"]
