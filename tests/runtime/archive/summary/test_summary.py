"""The page of a scan."""

import os
import shutil
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path, PurePath
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from htsat_edge.runtime.archive.journal import KeptEvent, KeptRecording
from htsat_edge.runtime.archive.records import FoundInRecording, Origin, Quality
from htsat_edge.runtime.archive.summary import cards
from htsat_edge.runtime.archive.summary.page import SummaryHeading, write_summary
from htsat_edge.runtime.archive.walk import Unreadable
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd

VOID = {"meta", "img", "br"}
PLAYED_S = """async () => {
    const player = document.querySelector("audio");
    player.muted = true;
    await player.play();
    return player.duration;
}"""
NIGHT = datetime(2026, 5, 1, 23, 30)


def heard(path, *events, start=None, duration_s=3600.0, quality=Quality(), failure=""):
    found = FoundInRecording(duration_s, 32_000, 1, quality, (), Origin(start), failure)
    return KeptRecording(Path(path), PurePath("a.wav"), 1000, found, events)


class Page(HTMLParser):
    """A page: its elements, its tables and its texts. Elements must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.tables = [], [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag == "table":
            self.rows = self.tables[attrs["aria-labelledby"]] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)
        if self.open[-1:] and {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def of(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture
def write(tmp_path):
    """Write a page into RESULTS and read it again."""

    def writing(recordings=(), failures=(), **heading):
        path = tmp_path / "RESULTS" / "summary.html"
        path.parent.mkdir(exist_ok=True)
        write_summary(path, SummaryHeading(["/data/archive"], FrontEnd(), **heading), recordings, failures)
        return Page(path.read_text(encoding="utf-8"))

    return writing


def test_tables_by_hour_day_and_folder(write):
    dog, late, bird = (KeptEvent(0, *each, 0.5) for each in (("Dog", 10, 11), ("Dog", 1900, 1901), ("Bird", 1, 2)))
    page = write(
        [
            heard("/x/1/a.wav", dog, late, start=NIGHT),
            heard("/x/1/b.wav", dog, duration_s=1800),
            heard("/x/2/c.wav", bird, start=NIGHT + timedelta(days=2), duration_s=360, failure="is truncated"),
        ],
        [Unreadable(Path("/x/2/c.wav"), "is truncated"), Unreadable(Path("/x/2/d.wav"), "is empty")],
        settings=[("hop", "0.32 s")],
        waiting=2,
    )
    hours = page.tables["hours-table"]
    assert hours[1] == ["hours recorded", "0.5", *[""] * 22, "0.6", "1.1"]
    assert hours[2:] == [["Dog", "1", *[""] * 22, "1", "3"], ["Bird", *[""] * 23, "1", "1"]]
    assert page.tables["days-table"] == [
        ["", "202605-01", "05-02", "05-03", "all"],
        ["hours recorded", "0.5", "0.5", "0.1", "1.1"],
        ["Dog", "1", "1", "", "3"],
        ["Bird", "", "", "1", "1"],
    ]
    coverage = page.tables["coverage-table"]
    assert [(row[0], row[1], row[-2], row[-1]) for row in coverage[1:]] == [
        ("2026-05-01", "", "0.5", "0.5"),
        ("2026-05-02", "0.5", "", "0.5"),
        ("2026-05-03", "", "0.1", "0.1"),
    ]
    assert page.tables["folders-table"][1:] == [
        ["1", "2", "1.5", "3", "2.0", "0", "0", "Dog 3"],
        ["2", "1", "0.1", "1", "10.0", "1", "1", "Bird 1"],
    ]
    assert page.tables["failed-table"][1:] == [["/x/2/d.wav", "is empty"]]
    assert page.tables["faults-table"][1:] == [["damaged or broken off", "1", "/x/2/c.wav", ""]]
    for said in (
        "recordings 3 hours 1.6 events 4 classes 2 recordings with faults 1 not heard 1",
        "hop 0.32 s",
        "Not finished: 2 recordings still to be heard.",
        "1 of 3 recordings do not say when they began.",
        "Below /x. Each with",
    ):
        assert said in page.text
    unrecorded = [attrs for attrs in page.of("td") if attrs.get("class") == "none"]
    assert len(unrecorded) == 2 * 22


def test_one_event_has_a_shade_beside_a_thousand(write):
    dog = KeptEvent(0, "Dog", 10, 11, 0.5)
    page = write([heard("/x/a.wav", *[dog] * 1000, start=NIGHT), heard("/x/b.wav", dog, start=NIGHT.replace(hour=5))])
    shades = [attrs["class"] for attrs in page.of("td") if attrs.get("class", "none") != "none"]
    assert shades[:2] == ["s1", "s9"]
    assert page.tables["hours-table"][2][6::18] == ["1", "1\u202f000"]


def test_nothing_at_all(write):
    page = write()
    assert "recordings 0 hours 0 events 0" in page.text
    assert "Nothing was heard" in page.text
    assert page.tables == {}


def test_without_times_and_without_events(write):
    page = write([heard("/x/a.wav", KeptEvent(0, "Dog", 1, 2, 0.5))])
    assert "No recording says when it began" in page.text
    assert [*page.tables] == ["folders-table"]
    page = write([heard("/x/a.wav", start=NIGHT)])
    assert [*page.tables] == ["coverage-table", "folders-table"]


HOSTILE = '"><script>alert(1)</script><img src=x onerror="alert(1)">\n\x1b[31m&amp;'


def test_names_from_outside_are_only_text(write):
    path = f"/x/{HOSTILE.replace('/', '')}/a.wav"
    page = write(
        [heard(path, KeptEvent(0, HOSTILE, 1, 2, 0.5), start=NIGHT, failure=HOSTILE)],
        [Unreadable(Path(f"{path}2"), HOSTILE)],
        settings=[(HOSTILE, HOSTILE)],
    )
    assert not {tag for tag, _ in page.elements} & {"script", "img", "iframe", "object", "link", "base", "form"}
    assert not {name for _, attrs in page.elements for name in attrs if name.startswith("on")}
    assert r"<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text
    assert page.text.count(r"\n\x1b[31m&amp;") > 10
    policy = next(attrs["content"] for attrs in page.of("meta") if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none';")


@pytest.mark.parametrize(
    "name", [b"a b#1?x=2%20.wav", b"caf\xe9.wav", "é\n日.wav".encode(), b"http:x.wav", b"'\"<.wav"]
)
def test_links_lead_to_the_recordings(write, farmyard, tmp_path, name):
    path = tmp_path / "recordings" / os.fsdecode(name)
    path.parent.mkdir()
    shutil.copy(farmyard, path)
    page = write([heard(path, KeptEvent(0, "Dog", 6.4, 7.3, 0.5))])
    (target,) = (attrs["href"] for attrs in page.of("a"))
    parts = urlsplit(target)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "t=6.4")
    there = tmp_path / "RESULTS" / os.fsdecode(unquote_to_bytes(parts.path))
    assert there.samefile(path)
    assert page.of("audio")[0]["src"].startswith("data:audio/")


def test_it_links_to_the_tables_that_are_there(write, tmp_path):
    write()
    there = ["events.csv", "files.parquet", "raven.txt", "failed.csv"]
    for name in (*there, "other.csv"):
        (tmp_path / "RESULTS" / name).touch()
    (tmp_path / "RESULTS" / "labels").mkdir()
    assert [attrs["href"] for attrs in write().of("a")] == [*there, "labels"]


def test_a_recording_that_is_gone_leaves_a_note(write, farmyard, tmp_path):
    dog, bird = KeptEvent(0, "Dog", 6.4, 7.3, 0.5), KeptEvent(0, "Bird", 23, 25, 0.5)
    page = write([heard(tmp_path / "gone.wav", dog, dog), heard(farmyard, bird)])
    assert "No clip: no such file" in page.text
    assert len(page.of("audio")) == 1


def test_a_card_says_where_and_when_its_event_is(write, farmyard):
    event = KeptEvent(1, "Speech", 0.5, 2, 0.876, Path("/x/b.wav"))
    page = write([heard(farmyard, event, start=NIGHT)])
    assert "score 0.88, 1.5 s, at 0:00, channel 1, 2026-05-01 23:30:00, goes on in the next recording" in page.text
    (borders,) = (attrs["style"] for attrs in page.of("i"))
    assert borders == "left:16.7%;right:33.3%"
    assert [attrs["style"] for attrs in page.of("b")] == ["bottom:12.8%", "bottom:46.2%", "bottom:84.5%"]


def test_a_recording_in_a_store_is_heard_and_not_linked(write, farmyard, memory_store):
    memory_store.pipe("/bucket/a.flac", farmyard.read_bytes())
    speech = KeptEvent(0, "Speech", 1.2, 5, 0.9)
    page = write([heard("memory:/bucket/a.flac", speech), heard("memory:/bucket/b.flac", speech._replace(label="Dog"))])
    assert (len(page.of("audio")), page.text.count("No clip"), page.of("a")) == (1, 1, [])


def test_many_classes_and_little_room(write, farmyard, monkeypatch):
    monkeypatch.setattr(cards, "MOST_BYTES", 100_000)
    events = [KeptEvent(0, f"Class {i:03}", 6.4, 7.3, 0.5) for i in range(527)]
    page = write([heard(farmyard, *events, start=NIGHT)])
    assert len(page.of("article")) == 40
    assert "Of the 40 classes with most events; 487 have fewer." in page.text
    assert 0 < len(page.of("audio")) < 20
    assert page.text.count("the page is full") == 40 - len(page.of("audio"))
    assert sum(len(attrs["src"]) for tag in ("img", "audio") for attrs in page.of(tag)) <= 100_000
    assert len(page.tables["hours-table"]) == 2 + 527


def test_without_matplotlib_there_are_still_players(write, farmyard, monkeypatch):
    monkeypatch.setattr(cards, "why_not_drawn", lambda: "A spectrogram needs matplotlib")
    page = write([heard(farmyard, KeptEvent(0, "Dog", 6.4, 7.3, 0.5))])
    assert "A spectrogram needs matplotlib" in page.text
    assert (len(page.of("img")), len(page.of("audio"))) == (0, 1)


def test_folders_are_named_from_what_they_share(write):
    folders = {
        ("/x/y/1/a.wav",): ["1"],
        ("/x/1/a.wav", "/x/a.wav"): [".", "1"],
        ("/x/a.wav", "s3:/bucket/a.wav"): ["/x", "s3://bucket"],
    }
    for paths, names in folders.items():
        rows = write([heard(path) for path in paths]).tables["folders-table"][1:]
        assert [row[0] for row in rows] == names


def test_many_folders_and_failures_are_summed_up(write):
    recordings = [heard(f"/x/{i:03}/a.wav", *[KeptEvent(0, "Dog", 1, 2, 0.5)] * (i > 4)) for i in range(205)]
    page = write(recordings, [Unreadable(Path(f"/x/000/{i}.wav"), "is empty") for i in range(25)])
    rows = page.tables["folders-table"][1:]
    assert len(rows) == 201
    assert [row[0] for row in rows[:-1]] == [f"{i:03}" for i in range(5, 205)]
    assert rows[-1] == ["5 more", "5", "5.0", "0", "0.0", "0", "25", ""]
    assert "The first 20; 5 more are in failed.csv." in page.text


def test_a_page_is_the_same_again_and_replaces_the_old_one_whole(write, farmyard, tmp_path):
    recordings = [heard(farmyard, KeptEvent(0, "Dog", 6.4, 7.3, 0.5), start=NIGHT)]
    write(recordings)
    first = (tmp_path / "RESULTS" / "summary.html").read_bytes()

    def broken():
        yield from recordings
        raise HtsatEdgeError("the journal is gone")

    with pytest.raises(HtsatEdgeError, match="journal is gone"):
        write(broken())
    assert (tmp_path / "RESULTS" / "summary.html").read_bytes() == first
    write(recordings)
    assert (tmp_path / "RESULTS" / "summary.html").read_bytes() == first
    assert [path.name for path in (tmp_path / "RESULTS").iterdir()] == ["summary.html"]


def test_a_page_that_cannot_be_written_is_one_line(write, tmp_path):
    (tmp_path / "RESULTS" / "summary.html").mkdir(parents=True)
    with pytest.raises(HtsatEdgeError, match=r"summary\.html: cannot be written: "):
        write()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_a_browser_shows_it_to_everybody(write, farmyard, tmp_path, width, scheme):
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium: sudo apt install chromium")
    pytest.importorskip("matplotlib.image")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    events = [KeptEvent(0, label, 6.4, 7.3, 0.5) for label in ("Dog", "Speech", "Bird" * 30)]
    write(
        [
            heard(farmyard, *events, start=NIGHT, quality=Quality(1000, clipped=100), failure="is truncated"),
            heard(f"/x/{'long' * 40}/a.wav", *events * 3, duration_s=90_000, start=NIGHT),
            heard("/y/a.wav"),
        ],
        [Unreadable(Path("/y/b.wav"), "is empty")],
        waiting=1,
    )
    with pytest.importorskip("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        errors = []
        tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        tab.goto((tmp_path / "RESULTS" / "summary.html").as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate("[...document.images].map(image => image.naturalHeight)") == [64] * 3
        assert tab.evaluate(PLAYED_S) == pytest.approx(2.9, abs=0.2)
        faults = axe.Axe().run(tab).response["violations"]
        bad = [fault for fault in faults if fault["impact"] in ("serious", "critical")]
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in bad] == []
        assert errors == []
        browser.close()
