"""`htsat-edge enroll` as a user meets it. What it learns is tested in tests/runtime/enrolment."""

import json
from contextlib import closing
from datetime import datetime, timezone

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.common.message import format_time
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.enrolment.enroll import Enrolment
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.sounds import Confusion, read_sounds
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.records import Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.store.writes import SavedClip

RATE, AT = 32_000, 1_777_663_800.0


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def calls(monkeypatch, make_report):
    """Learn nothing, in no time; return what was asked for. What is called "Noise" is refused."""
    made = []

    def learn(bundle, backend, label, recordings, *, backgrounds=(), false_alarms=(), others):
        made.append({"label": label, "recordings": recordings, "backgrounds": backgrounds, "alarms": false_alarms})
        made[-1]["others"] = {other: len(paths) for other, paths in others.items()}
        reason = "these sound like Speech to this model: 40 % of speech would fire" if label == "Noise" else ""
        confusions = [Confusion(label="Bell", fired=3, of=40)]
        report = make_report(
            label != "Noise", recordings=len(recordings), reason=reason, confusions=confusions, threshold=0.62
        )
        return Enrolment(label, np.full(128, len(made), np.float32), 0.0, 0.62, report)

    monkeypatch.setattr("htsat_edge.runtime.enrolment.teaching.enroll", learn)
    return made


@pytest.fixture
def enroll(command, tiny_bundle, tmp_path):
    """Run the command for the small bundle, with a folder of sounds of its own."""

    def run(*arguments):
        return command("enroll", *arguments, "--bundle", tiny_bundle, "--sounds", tmp_path / "sounds")

    return run


@pytest.fixture
def sounds(tiny_bundle, tmp_path):
    return lambda: read_sounds(tmp_path / "sounds", load_bundle(tiny_bundle))


@pytest.fixture
def takes(tmp_path, write_takes):
    return write_takes(tmp_path / "takes")


def test_a_sound_is_learned_listed_and_heard(enroll, calls, takes, sounds, tmp_path, command, tiny_bundle):
    status, out, err = enroll("Our doorbell", *takes)
    assert (status, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == [
        "Our doorbell: learned from 3 recordings",
        "  recall          90% (70 to 100%) of these recordings, each found by what the others taught",
        "  false alarms    0.9 (0.7 to 1) an hour, on 1 h of background",
        "  fires on        Bell: 3 of 40",
        "  threshold       0.62",
        f"{tmp_path}/sounds/our-doorbell.json: a class like any other from now on; a daemon that runs takes it over "
        "within a second.",
        f'Next: htsat-edge detect FILE --sounds {tmp_path}/sounds --labels "Our doorbell" · where it is wrong, say so '
        "on the page, then: "
        'htsat-edge enroll --refresh "Our doorbell"',
    ]
    assert sounds().labels == ["Our doorbell"]
    status, out, _ = enroll("--list")
    assert out.split()[:4] == ["label", "state", "threshold", "recordings"]
    assert out.splitlines()[1].split()[:8] == ["Our", "doorbell", "in", "use", "0.62", "3", "90%", "(70"]
    status, out, err = command(
        "detect",
        takes[0],
        "--bundle",
        tiny_bundle,
        "--sounds",
        tmp_path / "sounds",
        "--labels",
        "our doorbell",
        "--json",
    )
    assert (status, err) == (0, "")


def test_a_refusal_is_status_1_with_the_reason_and_writes_nothing(enroll, calls, takes, tmp_path):
    status, out, err = enroll("Noise", *takes)
    assert (status, err) == (1, "")
    assert out.splitlines()[:2] == [
        "Noise: refused from 3 recordings",
        "these sound like Speech to this model: 40 % of speech would fire",
    ]
    assert "Nothing was written." in out
    assert not (tmp_path / "sounds").exists()


def test_a_folder_stands_for_the_recordings_in_it(enroll, calls, takes):
    status, out, err = enroll("Our doorbell", takes[0].parent)
    assert (status, err) == (0, "")
    assert out.startswith("Our doorbell: learned from 3 recordings\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "want what the sound is called, and recordings of it"),
        (["Bell"], "want recordings of the sound: 3 or more files, or --events ID …, or --record N"),
        (["Bell", "TAKE", "--record", "5"], "want recordings of the sound"),
        (["Bell", "TAKE"], "1 recording of the sound: want 3 to 50"),
        (["Bell", "TAKE", "TAKE", "TAKE"], "is the same recording as"),
        (["Bell", "--record", "2"], "2 recordings of the sound: want 3 to 50"),
        (["Bell", "--record", "3", "--device", "nowhere"], "there is no microphone nowhere"),
        (["Bell", "--events", "1", "2", "3"], "where is the store? --config FILE"),
        (["class 3", "TAKE"], "the model has a class of this name"),
        (["--remove", "Bell"], "there is no sound 'Bell'"),
        (["--refresh", "Bell"], "there is no sound 'Bell'"),
        (["--rename", "Bell", "Gong"], "there is no sound 'Bell'"),
        (["--import", "/nowhere"], "holds no sound"),
    ],
)
def test_wrong_usage_is_one_line(arguments, text, enroll, takes):
    status, out, err = enroll(*(takes[0] if one == "TAKE" else one for one in arguments))
    assert (status, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1


def test_a_label_that_is_taken_is_refused_unless_it_is_to_be_replaced(
    enroll, calls, takes, write_takes, tmp_path, sounds
):
    enroll("Our doorbell", *takes)
    newer = write_takes(tmp_path / "newer", 4, seed=1)
    status, _, err = enroll("our doorbell", *newer)
    assert status == 2
    assert "--replace learns it anew" in err
    assert enroll("our doorbell", *newer, "--replace")[0] == 0
    (sound,) = sounds().usable
    assert (sound.name, sound.info.label, len(sound.info.recordings)) == ("our-doorbell", "our doorbell", 4)
    assert enroll("Noise", *newer)[0] == 1
    assert calls[-1]["others"] == {"our doorbell": 4}


def test_sounds_are_renamed_exported_imported_and_removed(enroll, calls, takes, tmp_path, sounds):
    enroll("Our doorbell", *takes)
    assert enroll("--export", "Our doorbell", tmp_path / "out")[0] == 0
    assert enroll("--rename", "our doorbell", "Front door")[1] == "Our doorbell is called Front door from now on\n"
    assert enroll("--import", tmp_path / "out")[0] == 0
    assert sounds().labels == ["Front door", "Our doorbell"]
    assert enroll("--remove", "Front door")[1] == "Front door is no longer there\n"
    assert sounds().labels == ["Our doorbell"]


def test_what_the_configuration_says_counts(command, calls, takes, tiny_bundle, tmp_path, sounds):
    """Its groups take labels, and a sound that it names is not renamed or removed."""
    config = tmp_path / "detector.yaml"
    model = {"bundle": str(tiny_bundle), "sounds": str(tmp_path / "sounds")}
    config.write_text(json.dumps({"model": model, "detection": {"groups": {"Doors": ["class 1"]}}}))
    assert "is the name of something else" in command("enroll", "doors", *takes, "--config", config)[2]
    assert command("enroll", "Bell", *takes, "--config", config)[0] == 0
    assert sounds().labels == ["Bell"]
    config.write_text(json.dumps({"model": model, "detection": {"thresholds": {"Bell": 0.7}}}))
    for arguments in (["--remove", "bell"], ["--rename", "Bell", "Gong"]):
        status, _, err = command("enroll", *arguments, "--config", config)
        assert status == 2
        assert "names 'Bell' in detection.thresholds: take it out first" in err
    assert sounds().labels == ["Bell"]


@pytest.fixture
def store(tmp_path):
    """A store of four events with a clip each of 4 s, in which the event is at 1 to 2 s, and one without a clip."""
    clips = tmp_path / "clips"
    clips.mkdir()
    rng = np.random.default_rng(3)
    with closing(Database(tmp_path / "events.db")) as database, database:
        session = database.session("one", AT)
        for number in range(1, 6):
            onset = 10.0 * number
            time = format_time(datetime.fromtimestamp(AT + onset, timezone.utc))
            common = {
                "source": "yard",
                "id": number,
                "label": "Our doorbell",
                "onset": onset,
                "time": time,
                "score": 0.9,
            }
            database.put_event(session, EventEnd(**common, offset=onset + 1), AT + onset)
            if number < 5:
                name = f"clip{number}.flac"
                soundfile.write(clips / name, rng.normal(0, 0.1, 4 * RATE), RATE)
                database.put(session, SavedClip("yard", number, name, onset - 1, onset + 3, time), AT + onset)
    return ["--database", tmp_path / "events.db", "--clips", clips]


def test_events_of_the_store_are_cut_with_a_margin(enroll, calls, store, sounds):
    assert enroll("Our doorbell", "--events", 1, 2, 3, *store)[0] == 0
    assert [one.seconds for one in sounds().usable[0].info.recordings if one.kind == "positive"] == [2.0, 2.0, 2.0]
    status, _, err = enroll("Gate", "--events", 1, 2, 5, *store)
    assert (status, "event 5: has no clip" in err) == (2, True)
    status, _, err = enroll("Gate", "--events", 1, 2, 9, *store)
    assert (status, "event 9: does not exist" in err) == (2, True)


def test_refresh_learns_from_false_alarms_once(enroll, calls, takes, store, tmp_path, sounds):
    enroll("Our doorbell", *takes)
    put_verdicts(tmp_path / "events.db", [Verdict(event=2, decision="wrong"), Verdict(event=3, decision="correct")])
    status, out, _ = enroll("--refresh", *store)
    assert status == 0
    assert out.startswith("Our doorbell: learned from 3 recordings")
    assert len(calls[-1]["alarms"]) == 1
    assert [one.kind for one in sounds().usable[0].info.recordings].count("false_alarm") == 1
    status, out, _ = enroll("--refresh", *store)
    assert (status, len(calls)) == (0, 2)
    assert "nothing to refresh" in out


def test_refresh_learns_again_what_another_graph_has_made_stale(enroll, calls, takes, sounds, tmp_path):
    enroll("Our doorbell", *takes)
    path = tmp_path / "sounds" / "our-doorbell.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "graph_sha256": "0" * 64}))
    assert "other graph" in enroll("--list")[1]
    assert enroll("--refresh")[0] == 0
    assert [one.name for one in sounds().usable] == ["our-doorbell"]
    assert len(calls[-1]["recordings"]) == 3
    (tmp_path / "sounds" / "our-doorbell.npz").write_bytes(b"")
    assert "not used: " in enroll("--list")[1]
    assert enroll("--refresh")[0] == 0
    assert sounds().problems == []


def test_a_refresh_that_is_refused_leaves_the_sound_as_it_was(enroll, calls, takes, sounds, monkeypatch):
    enroll("Our doorbell", *takes)
    (before,) = sounds().usable
    learn = __import__("htsat_edge.runtime.enrolment.teaching", fromlist=["enroll"]).enroll
    monkeypatch.setattr(
        "htsat_edge.runtime.enrolment.teaching.enroll",
        lambda bundle, backend, label, recordings, **more: learn(bundle, backend, "Noise", recordings, **more),
    )
    assert enroll("--refresh", "Our doorbell")[0] == 1
    (after,) = sounds().usable
    assert after.info == before.info


def test_a_sound_whose_name_is_the_label_of_another_is_renamed_by_its_own(enroll, calls, write_takes, sounds, tmp_path):
    """The files of a renamed sound keep their name, which is then free as a label."""
    assert enroll("Bell", *write_takes(tmp_path / "a", seed=1))[0] == 0
    assert enroll("--rename", "Bell", "Front")[0] == 0
    assert enroll("Bell", *write_takes(tmp_path / "b", seed=2))[0] == 0
    assert enroll("--rename", "Front", "Gate")[0] == 0
    assert sorted(sounds().labels) == ["Bell", "Gate"]


def test_a_recording_in_place_of_the_label_is_no_label(enroll, calls, takes):
    status, _, err = enroll(*takes)
    assert (status, "is a file; what is the sound called?" in err) == (2, True)
