"""Sounds of this device by the page: learned, renamed, deleted; and what is refused."""

import io
import json
import threading
from contextlib import closing

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.enrolment.enroll import Enrolment
from htsat_edge.runtime.enrolment.library import Library
from htsat_edge.runtime.enrolment.recordings import take_recordings
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.records import Verdict
from htsat_edge.runtime.store.verdicts import put_verdicts
from htsat_edge.runtime.store.writes import SavedClip

RATE = 32_000
LABEL = "Our doorbell"


def chime(seed, seconds=1.6):
    """Two bells one after the other, no two alike, with a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    sound = rng.normal(0, 0.003, len(t))
    for onset, pitch in ((0.1, 660.0), (0.6, 523.0)):
        after = np.clip(t - onset - rng.uniform(0, 0.05), 0, None)
        for partial, level in ((1, 0.3), (2.76, 0.15), (5.4, 0.08)):
            sound += level * np.exp(-4 * after) * np.sin(2 * np.pi * pitch * partial * after) * (after > 0)
    return rng.uniform(0.5, 1) * sound


def send(page, samples, name="ring.wav"):
    content = io.BytesIO()
    soundfile.write(content, samples, RATE, format="WAV")
    return page.ask("POST", f"/api/sounds/uploads?filename={name}", content.getvalue(), Content_Type="audio/wav")


@pytest.fixture
def library(own_store):
    return Library(own_store.parent / "sounds", load_bundle())


@pytest.fixture
def add_sound(library, make_report, tmp_path_factory):
    """Put a sound into the library, without learning it."""

    def add():
        folder = tmp_path_factory.mktemp("recordings")
        paths = [folder / f"{k}.wav" for k in range(5)]
        for k, path in enumerate(paths):
            soundfile.write(path, chime(k), RATE)
        learned = Enrolment(LABEL, np.ones(256, np.float32), -1.0, 0.5, make_report())
        return library.add(learned, take_recordings(RATE, folder, paths))

    return add


@pytest.fixture
def hold(monkeypatch):
    """Hold an enrolment at its beginning; return what has it go on, and what says that it has begun."""
    begun, go_on = threading.Event(), threading.Event()

    def begin(name):
        from htsat_edge.runtime.web import teacher

        inner = getattr(teacher, name)

        def held(*given, **more):
            begun.set()
            assert go_on.wait(60)
            return inner(*given, **more)

        monkeypatch.setattr(teacher, name, held)
        return begun, go_on

    yield begin
    go_on.set()


def test_a_sound_is_learned_from_uploads(home, own_store, config_file):
    ids = []
    for k in range(5):
        sent = send(home, chime(k), f"C%3A%5Cring%20{k}.WAV" if k else "/etc/ring.ogg")
        assert (sent.status, sent.json["seconds"]) == (201, 1.6)
        ids.append(sent.json["id"])
    assert sent.json["name"].endswith("ring 4.WAV")
    done = home.ask("POST", "/api/sounds", {"label": " Our\tdoorbell ", "uploads": ids})
    assert done.status == 200
    sound, report = done.json["sound"], done.json["report"]
    assert report["accepted"], report["reason"]
    assert (sound["label"], sound["recordings"], sound["state"], sound["report"]) == (LABEL, 5, "in_use", report)
    there = home.get("sounds").json
    assert (there["can_enroll"], there["sounds"]) == (True, [sound])
    assert load_model(sounds=own_store.parent / "sounds").info.labels[-1] == LABEL
    assert home.ask("DELETE", f"/api/sounds/uploads/{ids[0]}").status == 404  # they are used up
    again = home.ask("POST", "/api/sounds", {"label": "our doorbell", "uploads": ids})
    assert (again.status, "send them again" in again.json["detail"]) == (400, True)


def test_a_sound_is_learned_from_events(home, own_store, began):
    """Each event lies within a clip that also holds what is not of it."""

    def put(database, session, k, label, sound):
        name, onset = f"20260501T13000{k}_yard_Bell.flac", 10.0 * k
        clip = np.random.default_rng(k).normal(0, 0.003, 6 * RATE)
        clip[3 * RATE :][: round(1.6 * RATE)] += sound
        soundfile.write(own_store.parent / "clips" / name, clip, RATE)
        event = EventEnd(source="yard", id=k, label=label, onset=onset, offset=onset + 1.6, time=None, score=0.9)
        database.put_event(session, event, began + 1000 + onset)
        database.put(session, SavedClip("yard", k, name, onset - 3, onset + 3, None), began + 1000 + onset)

    def keys_of(label):
        return [event["key"] for event in home.get("events", {"label": label}).json["events"]]

    with closing(Database(own_store)) as database, database:
        session = database.session("two", began + 1000)
        for k in range(1, 5):
            put(database, session, k, "Bell", chime(k))
        put(database, session, 5, LABEL, np.random.default_rng(5).normal(0, 0.1, round(1.6 * RATE)))  # a hiss
    keys, (alarm,) = keys_of("Bell"), keys_of(LABEL)
    done = home.ask("POST", "/api/sounds", {"label": LABEL, "events": keys})
    assert done.json["report"]["accepted"], done.json
    folder = own_store.parent / "sounds" / done.json["sound"]["name"]
    kept = [soundfile.info(path).duration for path in folder.glob("positive-*.flac")]
    assert kept == pytest.approx([2.6] * 4, abs=0.01)  # half a second before and after
    put_verdicts(own_store, [Verdict(event=alarm, decision="wrong")])
    again = home.ask("POST", f"/api/sounds/{done.json['sound']['name']}/refresh")
    assert (again.status, again.json["report"]["accepted"]) == (200, True)
    assert len([*folder.glob("false_alarm-*.flac")]) == 1
    refused = home.ask("POST", "/api/sounds", {"label": "Gong", "events": [*keys, 999]})
    assert (refused.status, refused.json["detail"]) == (400, "event 999: does not exist")


def test_one_at_a_time_and_all_else_goes_on(home, add_sound, library, hold, wait_for):
    """Also where the browser does not wait for its end."""
    add_sound()
    path = library.folder / "our-doorbell.json"
    before = path.stat().st_ino
    begun, go_on = hold("refresh")
    with home.connect() as connection:
        head = "POST /api/sounds/our-doorbell/refresh HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
        connection.sendall(f"{head}Content-Length: 0\r\n\r\n".encode())
        assert begun.wait(60)
    busy = home.ask("POST", "/api/sounds/our-doorbell/refresh")
    assert (busy.status, busy.json["detail"]) == (409, "another sound is being learned; wait for its end")
    assert home.get("events").json["total"] == 4
    go_on.set()
    wait_for(lambda: path.stat().st_ino != before)  # it is written anew


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({"label": "Gong"}, 400, "0 recordings of the sound: want 3 to 50"),
        ({"label": "Gong", "uploads": ["0" * 32]}, 400, "uploads: 1 of them are gone"),
        ({"label": "Gong", "uploads": ["../../etc"]}, 400, "uploads.0"),
        ({"label": "Gong", "events": [2]}, 400, "event 2: has no clip"),
        ({"label": "\n"}, 400, "label"),
        ({"label": "dog"}, 400, "label 'dog': the model has a class of this name"),
        ({"label": "Gong", "events": [1] * 51}, 400, "events"),
    ],
)
def test_what_no_sound_is_learned_from(home, body, status, detail):
    answer = home.ask("POST", "/api/sounds", body)
    assert answer.status == status
    assert answer.json["detail"].startswith(detail)


def test_the_same_recording_twice_is_named_as_it_was_sent(home):
    ids = [send(home, chime(k // 2), f"{k}.wav").json["id"] for k in range(4)]
    answer = home.ask("POST", "/api/sounds", {"label": LABEL, "uploads": ids})
    assert answer.json["detail"] == "1.wav: is the same recording as 0.wav; give each once"
    assert home.ask("DELETE", f"/api/sounds/uploads/{ids[0]}").status == 204  # none was used up


def test_a_sound_is_renamed_and_deleted_unless_the_configuration_names_it(home, add_sound, config_file, own_store):
    add_sound()
    assert home.ask("PATCH", "/api/sounds/our-doorbell", {"label": "Dog"}).status == 400
    assert home.ask("PATCH", "/api/sounds/our-doorbell", {"label": "Gong"}).json["label"] == "Gong"
    text = config_file.read_text()
    config_file.write_text(text.replace("{Dog: 0.5}", "{Dog: 0.5, Gong: 0.7}"))
    for method, body in (("PATCH", {"label": LABEL}), ("DELETE", None)):
        answer = home.ask(method, "/api/sounds/our-doorbell", body)
        assert (answer.status, "detection.thresholds" in answer.json["detail"]) == (409, True)
    config_file.write_text(text)
    assert home.ask("DELETE", "/api/sounds/our-doorbell").status == 204
    assert home.get("sounds").json["sounds"] == []
    assert [path.name for path in (own_store.parent / "sounds").iterdir()] == [".lock"]
    for method, path, body in (
        ("DELETE", "our-doorbell", None),
        ("PATCH", "our-doorbell", {"label": "Gong"}),
        ("POST", "our-doorbell/refresh", None),
        ("GET", "our-doorbell/export", None),
        ("DELETE", "..%2fsounds", None),
    ):
        assert home.ask(method, f"/api/sounds/{path}", body).status == 404


def test_sounds_that_cannot_be_heard_say_why(home, add_sound, library):
    add_sound()
    path = library.folder / "our-doorbell.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "graph_sha256": "0" * 64}))
    (library.folder / "broken.json").write_text("{")
    broken, stale = sorted(home.get("sounds").json["sounds"], key=lambda sound: sound["name"])
    assert (stale["name"], stale["state"], stale["label"]) == ("our-doorbell", "stale", LABEL)
    assert (broken["name"], broken["state"]) == ("broken", "problem")
    assert "JSON" in broken["problem"]
    assert home.ask("DELETE", "/api/sounds/broken").status == 204
    assert not (library.folder / "broken.json").exists()


def test_a_page_without_a_configuration_learns_nothing(own_store, serve):
    page = serve(own_store)
    there = page.get("sounds").json
    assert (there["can_enroll"], there["sounds"]) == (False, [])
    assert "--config FILE" in there["reason"]
    for answer in (send(page, chime(0)), page.ask("POST", "/api/sounds", {"label": "Gong"})):
        assert (answer.status, answer.json["detail"]) == (409, there["reason"])


def test_a_folder_that_nobody_may_write_to_is_said_before(own_store, config_file, serve):
    (own_store.parent / "sounds").write_text("")
    there = serve(own_store, config_file).get("sounds").json
    assert (there["can_enroll"], "is no folder" in there["reason"]) == (False, True)


@pytest.mark.parametrize(
    "request_",
    [
        "GET sounds",
        "POST sounds",
        "POST sounds/uploads",
        "POST sounds/import",
        "PATCH sounds/x",
        "DELETE sounds/x",
        "POST sounds/x/refresh",
        "GET sounds/x/export",
        "GET tune",
        "GET tune/curve",
        "POST tune/preview",
        "POST tune/apply",
    ],
)
def test_all_of_it_needs_the_login_and_our_own_page(page, locked, request_):
    method, path = request_.split()
    assert locked.ask(method, f"/api/{path}").status == 401
    assert page.ask(method, f"/api/{path}", Origin="http://evil.example").status == 403
    if method != "GET":
        assert page.ask(method, f"/api/{path}", Origin=None).status == 403


@pytest.fixture(scope="module")
def locked(store, serve, password_file):
    return serve(store, password_file=password_file)
