"""Names of clips, to and fro, and when a clip was recorded."""

from datetime import datetime, timezone

import numpy as np
import pytest
import soundfile

from htsat_edge.runtime.daemon.config import ClipsConfig
from htsat_edge.runtime.daemon.outputs.clip_names import ClipName, ClipNamer, clip_stem, clip_time, parse_clip_name
from htsat_edge.runtime.daemon.outputs.clips import Clip, ClipWriter
from htsat_edge.runtime.dsp.events import EventEnd, EventStart

CATTLE = {"source": "yard/1", "id": 7, "label": "Cattle, bovinae", "score": 0.5}
FIRST, OLD = "2026-11-26T18:00:01.250+00:00", "20261126T180003_yard_Dog"


@pytest.mark.parametrize(
    ("zone", "time", "name"),
    [
        ("Europe/Berlin", "2026-07-01T22:30:00.000+00:00", "20260702T003000.000+0200"),
        ("Europe/Berlin", "2026-10-25T00:59:59.999+00:00", "20261025T025959.999+0200"),
        ("Europe/Berlin", "2026-10-25T01:00:00.000+00:00", "20261025T020000.000+0100"),
        ("America/St_Johns", "2026-12-01T00:00:00.005+00:00", "20261130T203000.005-0330"),
        ("UTC", "2026-12-01T01:00:00.320+01:00", "20261201T000000.320+0000"),
    ],
)
def test_a_name_is_in_local_time_and_says_when_that_was(zone, time, name, in_zone):
    in_zone(zone)
    stem = clip_stem(EventStart(**CATTLE, onset=3.2, time=time))
    assert stem == f"{name}_yard-1_Cattle-bovinae"
    parsed = parse_clip_name(f"{stem}.flac")
    assert parsed == ClipName("yard-1", "Cattle-bovinae", datetime.fromisoformat(time), None)


def test_sounds_of_one_moment_have_names_of_their_own_whatever_their_letters():
    labels = ["犬", "猫", "Café", "Cafè", "?!", "Dog", f"{'Dog ' * 20}1", f"{'Dog ' * 20}2"]
    stems = [
        clip_stem(EventStart(**{**CATTLE, "source": "庭", "label": label}, onset=1, time=None)) for label in labels
    ]
    assert len({stem.casefold() for stem in stems}) == len(labels)
    assert all(parse_clip_name(f"{stem}.flac") for stem in stems)
    assert [stems[5][-4:], max(map(len, stems)) <= 100] == ["_Dog", True]


def test_a_name_without_time_of_day_has_the_position():
    stem = clip_stem(EventStart(**CATTLE, onset=12.8, time=None))
    assert stem == "0000012.80_yard-1_Cattle-bovinae"
    assert parse_clip_name(f"{stem}_2.wav") == ClipName("yard-1", "Cattle-bovinae", None, 12.8)


def test_older_names_are_in_utc():
    assert parse_clip_name(f"{OLD}.wav").time == datetime(2026, 11, 26, 18, 0, 3, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "name", ["20261199T180003_yard_Dog.flac", "20261126T180003.250_yard_Dog.flac", "Help.flac", f"{OLD}.mp3", OLD]
)
def test_other_names_are_none(name):
    assert parse_clip_name(name) is None


def test_an_end_has_the_name_of_its_start():
    """The onset of an early start may move, and its time with it."""
    namer, other = ClipNamer("wav"), {**CATTLE, "id": 8}
    start = namer.name(EventStart(**CATTLE, onset=3.2, time=FIRST))
    namer.name(EventStart(**other, onset=4.0, time=None))
    end = namer.name(EventEnd(**CATTLE, onset=2.88, offset=5.0, time="2026-11-26T18:00:00.930+00:00"))
    assert start.clip == end.clip == f"{clip_stem(start)}.wav"
    assert (
        namer.name(EventEnd(**other, onset=4.0, offset=5.0, time=None)).clip == "0000004.00_yard-1_Cattle-bovinae.wav"
    )


@pytest.mark.parametrize("kind", ["flac", "wav"])
@pytest.mark.parametrize("name", [f"{OLD}.{{}}", "kept.{}"])
def test_a_clip_says_when_it_begins_whatever_its_name(kind, name, tmp_path):
    writer = ClipWriter(ClipsConfig(folder=tmp_path, format=kind))
    writer.send([Clip(OLD, np.zeros(1000, np.float32), 1000, time=FIRST)])
    path = tmp_path / name.format(kind)
    (tmp_path / f"{OLD}.{kind}").rename(path)
    assert clip_time(path).isoformat(timespec="milliseconds") == FIRST


def test_an_older_clip_begins_about_when_its_name_says(tmp_path):
    ClipWriter(ClipsConfig(folder=tmp_path)).send([Clip(OLD, np.zeros(1000, np.float32), 1000)])
    assert clip_time(tmp_path / f"{OLD}.flac") == datetime(2026, 11, 26, 18, 0, 3, tzinfo=timezone.utc)


def test_what_is_no_clip_of_ours_has_no_time(tmp_path):
    with soundfile.SoundFile(tmp_path / "Help.flac", "w", 1000, 1, "PCM_16") as file:
        file.date = FIRST
        file.write(np.zeros(1000, np.float32))
    (tmp_path / "notes.flac").write_text("no sound")
    names = ("Help.flac", "notes.flac", "gone.flac", "0000012.80_yard_Dog.flac")
    assert [clip_time(tmp_path / name) for name in names] == [None] * 4
