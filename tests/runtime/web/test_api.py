"""The API: what it answers."""

import io
import shutil
import sqlite3
import threading
import zipfile
from collections import Counter
from contextlib import closing
from urllib.parse import quote

import pytest

from htsat_edge.runtime.store.export import ClipPart, Export
from htsat_edge.runtime.web.routes.export import zipped


def test_events_days_and_figures_agree(page, began, clip):
    events = page.get("events").json
    assert [(event["label"], event["id"]) for event in events["events"]] == [
        ("Bird", 4),
        ("Dog", 3),
        ("Bird", 2),
        ("Dog", 1),
    ]
    assert (events["total"], events["next"]) == (4, None)
    assert events["events"][-1]["clip"] == {"name": clip, "onset": 3.0, "offset": 4.0, "at": began + 3}
    assert events["events"][-1] == page.get(f"events/{events['events'][-1]['key']}").json
    assert sum(day["count"] for day in page.get("days").json) == 4
    figures = page.get("figures", {"label": "Dog"}).json
    assert [(one["label"], one["count"]) for one in figures["labels"]] == [("Dog", 2)]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"label": ["Dog", "Cat"]}, [3, 1]),
        ({"source": "yard", "has_clip": "true"}, [1]),
        ({"source": "attic"}, []),
        ({"min_score": 0.95}, []),
        ({"decision": "none", "locked": "false"}, [4, 3, 2, 1]),
        ({"from_at": 1777636830, "to_at": 1777636850}, [3, 2]),
    ],
)
def test_events_are_filtered(page, query, ids):
    assert [event["id"] for event in page.get("events", query).json["events"]] == ids


def test_pages_follow_each_other(page):
    first = page.get("events", {"limit": 3}).json
    second = page.get("events", {"limit": 3, "after": first["next"]}).json
    assert [event["id"] for event in first["events"] + second["events"]] == [4, 3, 2, 1]
    assert second["next"] is None


def test_sources_thresholds_and_device_without_a_daemon(page, began):
    (source,) = page.get("sources").json
    assert (source["name"], source["step_s"], source["live"]) == ("yard", 0.32, None)
    assert source["labels"] == ["Dog", "Bird"]
    assert page.get("thresholds").json == {"yard": {"Dog": 0.5, "Bird": 0.6}} == {"yard": source["thresholds"]}
    device = page.get("device").json
    assert (device["daemon"], device["status"]) == (False, None)
    assert (device["store"]["events"], device["store"]["score_rows"]) == (4, 1)


def test_device_and_sources_of_a_daemon_that_runs(own_store, serve, daemon):
    daemon()
    page = serve(own_store)
    device = page.get("device").json
    assert device["daemon"]
    assert device["status"]["sources"][0]["name"] == "yard"
    assert page.get("sources").json[0]["live"]["level_dbfs"] == -30


def test_scores_of_a_span(page, began):
    span = page.get("scores", {"source": "yard", "from_at": began, "to_at": began + 10, "label": "Dog"}).json
    (part,) = span["parts"]
    assert max(part["scores"]["Dog"]) == pytest.approx(0.9, abs=0.02)
    assert span["thresholds"] == {"Dog": 0.5}
    assert [event["id"] for event in span["events"]] == [1]
    why = page.get("why", {"source": "yard", "label": "Dog", "at": began + 3.5}).json
    assert (why["stage"], why["event"]["id"]) == ("reported", 1)


@pytest.mark.parametrize("query", [{"source": "attic", "label": "Dog"}, {"source": "yard", "label": "Cat"}])
def test_what_was_never_heard_does_not_exist(page, began, query):
    for path, span in (("why", {"at": began}), ("scores", {"from_at": began, "to_at": began + 1})):
        answer = page.get(path, {**query, **span})
        assert answer.status == 404
        assert (query["source"] if query["source"] == "attic" else "Cat") in answer.json["detail"]


def test_verdicts_are_stored_and_undone(own_store, serve):
    page = serve(own_store)
    key = page.get("events").json["events"][0]["key"]
    verdict = {"event": key, "decision": "wrong", "label": "Owl", "note": "it hoots", "locked": True}
    done = page.ask("PUT", "/api/verdicts", {"verdicts": [verdict, {"event": 999}]}).json
    assert done["after"] == [verdict]
    assert done["unknown"] == [999]
    assert page.get(f"events/{key}").json["verdict"] == verdict
    assert page.get("events", {"decision": "wrong", "locked": "true"}).json["total"] == 1
    page.ask("PUT", "/api/verdicts", {"verdicts": done["before"]})
    assert page.get(f"events/{key}").json["verdict"] is None


def test_a_thousand_verdicts_fit_and_no_more(page):
    verdicts = [{"event": 10**9 + k, "decision": "correct", "note": "as the others"} for k in range(1001)]
    assert len(page.ask("PUT", "/api/verdicts", {"verdicts": verdicts[1:]}).json["unknown"]) == 1000
    answer = page.ask("PUT", "/api/verdicts", {"verdicts": verdicts})
    assert (answer.status, answer.json["detail"].split(":")[0]) == (400, "verdicts")


def test_export_is_a_data_set(own_store, serve, clip, tmp_path):
    page = serve(own_store)
    refused = page.get("export")
    assert refused.status == 404
    assert "nothing to export" in refused.json["detail"]
    (event,) = page.get("events", {"has_clip": "true"}).json["events"]
    page.ask("PUT", "/api/verdicts", {"verdicts": [{"event": event["key"], "decision": "correct"}]})
    for _ in range(2):  # one after the other is no two at once
        answer = page.get("export")
        assert answer.headers["content-type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert sorted(archive.namelist()) == [f"audio/{clip}", "manifest.csv"]
            assert archive.read(f"audio/{clip}") == (own_store.parent / "clips" / clip).read_bytes()
            assert b"Dog" in archive.read("manifest.csv")


@pytest.mark.parametrize("taken", [1, 2])
def test_an_export_that_nobody_takes_makes_room_for_the_next(tmp_path, taken):
    (tmp_path / "long.flac").write_bytes(bytes(1 << 20))
    exporting = threading.Lock()
    exporting.acquire()
    pieces = zipped(Export([], [ClipPart("long.flac", tmp_path / "long.flac")], Counter()), exporting)
    for _ in range(taken):
        next(pieces)
    assert exporting.locked()
    del pieces
    assert not exporting.locked()


def test_an_export_that_fails_is_no_whole_answer(tmp_path, monkeypatch):
    def fail(part):
        raise MemoryError

    exporting = threading.Lock()
    exporting.acquire()
    monkeypatch.setattr(ClipPart, "read", fail)
    with pytest.raises(MemoryError):
        list(zipped(Export([], [ClipPart("long.flac", tmp_path)], Counter()), exporting))
    assert not exporting.locked()


def test_clips_by_ranges(page, store, clip):
    content = (store.parent / "clips" / clip).read_bytes()
    whole = page.get(f"clips/{quote(clip)}")  # as the page asks for it: + is %2B
    assert page.get(f"clips/{clip}").content == content
    assert (whole.status, whole.content) == (200, content)
    assert (whole.headers["content-type"], whole.headers["accept-ranges"]) == ("audio/flac", "bytes")
    part = page.get(f"clips/{clip}", Range="bytes=100-299")
    assert (part.status, part.content) == (206, content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(content)}"
    assert page.get(f"clips/{clip}", Range="bytes=-10").content == content[-10:]
    assert page.get(f"clips/{clip}", Range=f"bytes={len(content)}-").status == 416
    assert page.get(f"clips/{clip}", If_None_Match=whole.headers["etag"]).status in (200, 304)


@pytest.mark.parametrize(
    "name",
    [
        "20260501T130000_yard_Dog.flac",  # of no event
        "../events.db",
        "..%2fevents.db",
        "%2e%2e%2fevents.db",
        "..%5cevents.db",
        "%2fetc%2fpasswd",
        "x%00.flac",
        "x" * 300 + ".flac",
        ".flac",
        "%ff.flac",
    ],
)
def test_no_other_file_is_a_clip(page, name):
    answer = page.ask("GET", f"/api/clips/{name}")
    assert answer.status in (400, 404)
    assert set(answer.json) == {"detail"}


def test_a_clip_that_is_gone_or_a_link_or_none_of_ours(own_store, serve, clip):
    page, path = serve(own_store), own_store.parent / "clips" / clip
    shutil.copy(path, path.with_name("other.flac"))
    assert page.get("clips/other.flac").status == 404
    path.unlink()
    assert page.get(f"clips/{clip}").json == {"detail": f"clip {clip} is gone"}
    path.symlink_to(own_store)
    assert page.get(f"clips/{clip}").status == 404


@pytest.mark.parametrize(
    ("path", "query", "detail"),
    [
        ("events", {"limit": 501}, "limit: Input should be less than or equal to 500"),
        ("events", {"after": "nonsense"}, "after"),
        ("events", {"from_at": "yesterday"}, "from_at: Input should be a valid number"),
        ("events", {"from_at": "nan"}, "from_at"),
        ("events", {"min_score": "inf"}, "min_score"),
        ("events/0", {}, "key"),
        ("events/99999999999999999999", {}, "key"),
        ("scores", {"source": "yard", "from_at": 0, "to_at": 1e9}, "want at most 3600 s after from_at"),
        ("scores", {"source": "yard", "from_at": 10, "to_at": 10}, "want a time after from_at"),
        ("why", {"source": "yard", "at": 10}, "label: Field required"),
    ],
)
def test_what_is_wrong_is_one_line(page, path, query, detail):
    answer = page.get(path, query)
    assert answer.status == 400
    assert detail in answer.json["detail"]
    assert "\n" not in answer.json["detail"]


def test_years_of_events_are_a_question_like_another(page):
    assert page.get("events", {"from_at": 0, "to_at": 1e11}).json["total"] == 4
    assert page.get("figures", {"from_at": 0, "to_at": 1e11}).status == 200


def test_stores_that_cannot_be_read(own_store, serve, clip, began):
    """Missing, foreign, damaged, of another version: one line that says how to mend it, and no other status."""
    page = serve(own_store)
    whole = own_store.read_bytes()

    def ask():
        answers = [
            page.get("events"),
            page.get("device"),
            page.get(f"clips/{clip}"),
            page.get("why", {"source": "yard", "label": "Dog", "at": began}),
            page.get("export"),
            page.ask("PUT", "/api/verdicts", {"verdicts": [{"event": 1}]}),
        ]
        assert {answer.status for answer in answers} == {503}
        assert all("\n" not in answer.json["detail"] for answer in answers)
        return answers[0].json["detail"]

    with closing(sqlite3.connect(own_store)) as database:
        database.execute("PRAGMA user_version = 1")
    assert "older version" in ask()
    own_store.write_bytes(whole[:5000] + bytes(len(whole) - 5000))
    assert "damaged" in ask()
    own_store.write_text("not a database")
    assert "no store" in ask()
    own_store.unlink()
    assert "there is no store" in ask()
    assert page.get("session").status == 200
    own_store.write_bytes(whole)
    assert page.get("events").json["total"] == 4


def test_a_locked_store_is_read_and_its_writer_waited_for(own_store, serve, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.store.connect.BUSY_S", 0.1)
    page = serve(own_store)
    with closing(sqlite3.connect(own_store, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        assert page.get("events").json["total"] == 4
        answer = page.ask("PUT", "/api/verdicts", {"verdicts": [{"event": 1, "decision": "correct"}]})
        assert (answer.status, "locked" in answer.json["detail"]) == (503, True)


def test_an_error_that_nobody_expected_is_one_line(page, monkeypatch):
    def fail(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr("htsat_edge.runtime.store.reader.StoreReader.days", fail)
    answer = page.get("days")
    assert (answer.status, answer.json) == (500, {"detail": "the page has failed here; its log says more"})
    assert "content-security-policy" in answer.headers
