"""`htsat-edge events`: a night in a yard in Berlin, read on the next day."""

import csv
import io
import json
import shlex
from contextlib import closing
from datetime import datetime, timezone
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from htsat_edge.runtime.commands import events, events_report
from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.reader import StoreReader
from htsat_edge.runtime.store.records import EventFilter, Verdict
from htsat_edge.runtime.store.setup import Setup
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.store.writes import SavedClip, ScoreRow, SourceSetup

BEGAN = datetime.fromisoformat("2026-05-01T21:30:00+02:00").timestamp()
NOW = BEGAN + 86_400
CLIP = "20260501T213040.000+0200_yard_Dog.flac"
SETUP = Setup(
    model="tiny", step_s=0.5, labels=["Animal", "Dog", "Cat"], thresholds=[0.6, 0.5, None], releases=[0.4, 0.3, None],
    min_length=2, confirm=[0, 0, 0], merge_gap=0, below=[],
)  # fmt: skip
SOUNDS = [
    ("yard", "Dog", 40.0, 43.0, 0.9),
    ("yard", "Animal", 9000.0, 9065.5, 0.7),  # after midnight
    ("yard", "Loud sound", 9100.0, None, 1.0),
    ("gate", "Dog", 50.0, 52.0, 0.8),  # a recording
]


def time_of(seconds):
    return format_time(datetime.fromtimestamp(BEGAN + seconds, timezone.utc))


@pytest.fixture
def store(tmp_path, monkeypatch, in_zone):
    """The store of that night."""
    in_zone("Europe/Berlin")
    monkeypatch.setattr(events, "time", SimpleNamespace(time=lambda: NOW))
    path = tmp_path / "events.db"
    scores = np.full((120, 3), 0.02, np.float32)
    scores[80:86, 1], scores[84, 1], scores[80:86, 2] = 0.8, 0.9, 0.3
    with closing(Database(path)) as database, database:
        session = database.session("one", BEGAN)
        for number, (source, label, onset, offset, score) in enumerate(SOUNDS, start=1):
            time = None if source == "gate" else time_of(onset)
            common = {"source": source, "id": number, "label": label, "onset": onset, "time": time, "score": score}
            event = EventStart(**common) if offset is None else EventEnd(**common, offset=offset)
            database.put_event(session, event, BEGAN + onset + 2)
        for source in ("yard", "gate"):
            database.put(session, SourceSetup(source, SETUP), BEGAN)
        database.put(session, ScoreRow("yard", 0.0, 0.5, time_of(0), scores), BEGAN + 60)
        database.put(session, SavedClip("yard", 1, CLIP, 38.0, 44.0, time_of(38)), BEGAN + 44)
    put_verdicts(path, [Verdict(event=1, decision="wrong", label="Cat", note="next\nour door")])
    return path


@pytest.fixture
def config(store, tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_text(f"outputs: {{store: {{path: '{store}'}}, clips: {{folder: '{tmp_path}/my clips'}}}}\n")
    return path


def ids_of(out):
    return [
        int(line.split()[0]) for line in out.splitlines()[1:] if line.strip()[:1].isdigit() and "events" not in line
    ]


def test_the_table_of_a_day(command, store):
    status, out, err = command("events", "--database", store, "--since", "yesterday")
    assert (status, err) == (0, "")
    header, *rows, note, _, total, hint = out.splitlines()
    assert header.split() == ["ID", "when", "for", "sound", "score", "source", "verdict", "clip"]
    assert [" ".join(row.split()) for row in rows] == [
        f"1 2026-05-01 21:30:40 3.0 s Dog 0.90 yard wrong: Cat {CLIP}",
        "4 ~2026-05-01 21:30:52 2.0 s Dog 0.80 gate",
        "2 2026-05-02 00:00:00 1 min 06 s Animal 0.70 yard",
        "3 2026-05-02 00:01:40 end not known Loud sound 1.00 yard",
    ]
    assert note.startswith("~ when it was stored")
    assert total == "4 events since 2026-05-01 00:00:00: Dog 2, Animal 1, Loud sound 1"
    assert hint.endswith(f"htsat-edge events --database {store} --why 3")


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ("", [1, 4, 2, 3]),
        ("--since yesterday --until today", [1, 4]),
        ("--since 23:00", [2, 3]),
        ("--since 2026-05-02T00:01:00", [3]),
        ("--class Dog --class Animal --source yard", [1, 2]),
        ("--class 'Loud sound'", [3]),
        ("--source gate", [4]),
        ("--class dog --class 'LOUD SOUND' --source Yard", [1, 3]),
    ],
)
def test_which_events(options, keys, command, store):
    status, out, err = command("events", "--database", store, "--json", *shlex.split(options))
    assert (status, err, [json.loads(line)["key"] for line in out.splitlines()]) == (0, "", keys)


def test_rows_for_programs(command, store):
    _, as_json, _ = command("events", "--database", store, "--json")
    first, *_, last = map(json.loads, as_json.splitlines())
    assert first == {
        "key": 1, "time": "2026-05-01T21:30:40.000+02:00", "source": "yard", "id": 1, "label": "Dog", "onset": 40.0,
        "offset": 43.0, "score": 0.9, "clip": CLIP, "verdict": "wrong", "real_label": "Cat", "note": "next\nour door",
    }  # fmt: skip
    assert (last["offset"], last["clip"], last["verdict"]) == (None, None, None)
    _, as_csv, _ = command("events", "--database", store, "--csv")
    rows = list(csv.DictReader(io.StringIO(as_csv)))
    assert (list(rows[0]), len(rows)) == (list(first), 4)
    assert (rows[0]["clip"], rows[0]["note"], rows[3]["offset"]) == (CLIP, r"next\nour door", "")


def test_a_long_list_is_read_page_by_page_and_its_table_cut(command, store, monkeypatch):
    monkeypatch.setattr(events, "PAGE", 1)
    monkeypatch.setattr(events, "ROWS", 3)
    _, out, _ = command("events", "--database", store)
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["4", "2", "3"]
    assert "above are the last 3" in out
    _, out, _ = command("events", "--database", store, "--csv")
    assert [line.split(",")[0] for line in out.splitlines()] == ["key", "1", "4", "2", "3"]


@pytest.mark.parametrize(
    ("width", "row"),
    [
        (80, "1 2026-05-01 21:30:40 3.0 s Dog 0.90 yard wrong: Cat yes"),
        (70, "1 2026-05-01 21:30:40 3.0 s Dog 0.90 yard wrong: Cat"),
        (40, "1 2026-05-01 21:30:40 Dog 0.90"),
    ],
)
def test_a_narrow_terminal_leaves_out_what_is_least_needed(width, row, store, capsys):
    with StoreReader(store) as reader:
        found = reader.events(EventFilter(labels=["Dog"]), 9).events
    events_report.print_events(Console(width=width, legacy_windows=False), found, [None] * len(found))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == row.split()
    assert max(map(len, lines[:3])) <= width


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--class Dgo", "--class Dgo: is not reported there, meant Dog?"),
        ("--class Cat", "--class Cat: is not reported there; there is Animal, Dog, Loud sound"),
        ("--source yrad", "--source yrad: nothing is stored of it, meant yard?"),
        ("--source attic", "--source attic: nothing is stored of it; there is gate, yard"),
        ("--class ''", "--class : is not reported there; there is Animal"),
        ("--since ''", "--since '' is no time; want such as"),
        ("--since 9999-12-31 --until now", "not before it"),
        (f"--why {10**23}", f"'{10**23}' is not a whole number from 1 on"),
        ("--since soon", "--since 'soon' is no time; want such as"),
        ("--since yesterday --until yesterday", "all of yesterday is --since yesterday --until today"),
        ("--why 99", "--why 99: the store has no such event"),
        ("--why 1 --csv", "is no table"),
    ],
)
def test_what_is_refused(options, said, command, store):
    status, out, err = command("events", "--database", store, *shlex.split(options))
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_where_the_store_is(command, tmp_path):
    assert "want --config FILE" in command("events")[2]
    (tmp_path / "bare.yaml").write_text("{}\n")
    status, _, err = command("events", "--config", tmp_path / "bare.yaml")
    assert (status, "outputs.store is missing, so nothing that is heard is kept" in err) == (2, True)


def test_where_there_is_nothing_it_says_what_there_is(command, store, tmp_path):
    nothing = "no events of Animal in gate since 2026-05-01 21:30:00; the store has 4 events, from 2026-05-01 21:30:40"
    status, out, _ = command("events", "--database", store, "--class", "Animal", "--source", "gate")
    assert (status, out.startswith(nothing)) == (0, True)
    assert "(the last: Loud sound in yard); listened to: gate until 2026-05-01 21:30:52, yard until" in out
    status, out, err = command("events", "--database", store, "--class", "Animal", "--source", "gate", "--csv")
    assert (status, out, err.startswith(nothing)) == (0, "", True)
    Database(tmp_path / "new.db").close()
    assert "nothing was heard yet: `htsat-edge listen` fills" in command("events", "--database", tmp_path / "new.db")[1]


def test_what_was_reported_early_and_not_borne_out_is_marked(command, config, store):
    early = EventEnd(source="yard", id=9, label="Dog", onset=45.0, offset=46.0, time=time_of(45), score=0.45)
    with closing(Database(store)) as database, database:
        database.put_event(database.session("one", BEGAN), early, BEGAN + 47)
    _, out, _ = command("events", "--config", config, "--class", "dog")
    lines = out.splitlines()
    assert [line.split()[5:8] for line in lines[1:4]] == [
        ["Dog", "0.90", "yard"],
        ["Dog", "0.45", "*"],
        ["Dog", "0.80", "gate"],
    ]
    assert "* reported early; its final scores stay below the threshold" in lines
    _, out, _ = command("events", "--config", config, "--why", 5)
    assert "an early report may not come again from its clip" in out
    assert "  confirm_s: {Dog: 1}\n" in out


def test_why_an_event_was_reported_and_what_to_try(command, config, tmp_path):
    clip = tmp_path / "my clips" / CLIP
    clip.parent.mkdir()
    clip.touch()
    status, out, err = command("events", "--config", config, "--why", 1)
    assert (status, err) == (0, "")
    assert out.startswith("Dog  yard, 2026-05-01 21:30:40, 3.0 s\nDog was reported from 21:30:40 for 3 s, with 0.90")
    assert "its threshold is 0.50, and `detection.thresholds: {Dog: 0.91}` would have left this moment out" in out
    table = out[out.index("What scored highest at its peak, 2026-05-01 21:30:42") :].splitlines()[2:5]
    assert [row.split() for row in table] == [["0.90", "0.50", "Dog"], ["0.30", "–", "Cat"], ["0.02", "0.60", "Animal"]]
    assert f"clip     {clip}\nverdict  wrong: Cat; next\\nour door\n" in out
    options = f"--config {config} --source yard"
    tried, tuned = (line.strip() for line in out.splitlines() if line.startswith("  htsat-edge"))
    assert tried == f"htsat-edge detect {options} --labels Dog --threshold 0.91 '{clip}'"
    assert tuned == f"htsat-edge tune {options} --label Dog"
    clip.unlink()
    _, out, _ = command("events", "--config", config, "--why", 1)
    assert f"clip     {clip} (is gone)" in out
    assert "htsat-edge detect" not in out


@pytest.mark.parametrize(("would", "threshold", "tried"), [(0.8, 0.5, 0.81), (0.7, 0.8, None), (0.998, 0.5, None)])
def test_a_threshold_to_try_is_one_that_changes_something(would, threshold, tried):
    """An early start whose final scores stay below the threshold in force is changed by none; nor is a score of 1."""
    found = SimpleNamespace(would_report_at=would, threshold=threshold)
    assert events_report.threshold_above(found) == tried


@pytest.mark.parametrize(
    ("key", "said"), [(3, "Loud sound was reported; its scores"), (4, "Dog was reported; its scores are not stored")]
)
def test_why_without_scores(key, said, command, config):
    _, out, _ = command("events", "--config", config, "--why", key)
    assert said in out
    assert "clip     none" in out


def test_why_for_programs(command, store):
    _, out, _ = command("events", "--database", store, "--why", 1, "--json")
    assert json.loads(out)["stage"] == "reported"
