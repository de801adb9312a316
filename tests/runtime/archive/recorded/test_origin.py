import os
import struct
import wave
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.archive.recorded import parse_zone, read_origin
from htsat_edge.runtime.archive.records import Origin

SENTENCE = "Recorded at 04:40:00 02/09/2021 (UTC-6) by AudioMoth 0FE081F80FE081F0 at gain setting 2."
SAMPLES = np.arange(-50, 51, dtype="<i2").tobytes()


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


FMT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 32000, 64000, 2, 16))
DATA = chunk(b"data", SAMPLES)
GUAN = chunk(b"guan", b"GUANO|Version:1.0\nTimestamp:2026-05-01T21:30:00+02:00\nLoc Position:1.5 2.5\nMake:P ")
ICMT = chunk(b"LIST", b"INFO" + chunk(b"IART", b"AudioMoth 1") + chunk(b"ICMT", SENTENCE.encode().ljust(384, b"\0")))
WAMD = chunk(
    b"wamd",
    b"".join(
        struct.pack("<HI", name, len(value)) + value
        for name, value in [(1, b"SM4"), (5, b"2014-04-02 22:59:14"), (6, b"WGS84,52.5,N,13.5,E")]
    ),
)
BEXT = chunk(b"bext", b"a take".ljust(256, b"\0") + b"ZOOM F3".ljust(64, b"\0") + b"2026-05-0112:00:00" + bytes(264))
ICRD = chunk(b"LIST", b"INFO" + chunk(b"ICRD", b"2011-05-01T10:00:00\0"))
WHEN = {
    "guano": "2026-05-01T21:30:00+02:00",
    "audiomoth": "2021-09-02T04:40:00-06:00",
    "wamd": "2014-04-02T22:59:14",
    "bext": "2026-05-01T12:00:00",
    "tag": "2011-05-01T10:00:00",
    "name": "2001-02-03T04:05:06",
}
"""What each says, the most credible first."""
CHUNKS = {"guano": GUAN, "audiomoth": ICMT, "wamd": WAMD, "bext": BEXT, "tag": ICRD}


def riff(*chunks, form=b"RIFF"):
    body = b"WAVE" + b"".join(chunks)
    return form + struct.pack("<I", len(body)) + body


def written(folder, content, name="x.wav"):
    path = folder / name
    path.write_bytes(content)
    return path


def said(path, **options):
    origin = read_origin(path, **options)
    return origin.said_by, origin.start and origin.start.isoformat()


@pytest.mark.parametrize("first", range(len(WHEN)))
@pytest.mark.parametrize("behind", [False, True])
def test_of_several_the_most_credible_counts(tmp_path, first, behind):
    who = list(WHEN)[first]
    chunks = [CHUNKS[one] for one in list(WHEN)[first:-1]][::-1]
    path = written(tmp_path, riff(FMT, *([DATA, *chunks] if behind else [*chunks, DATA])), "20010203_040506.wav")
    assert said(path) == (who, WHEN[who])
    assert said(path, start=datetime(2020, 1, 1)) == ("option", "2020-01-01T00:00:00")


def test_time_place_and_recorder_are_each_of_the_first_that_says_it(tmp_path):
    guan = chunk(b"guan", b"Loc Position:1.5 2.5")
    path = written(tmp_path, riff(FMT, DATA, WAMD, BEXT, guan))
    assert read_origin(path) == Origin(datetime(2014, 4, 2, 22, 59, 14), "wamd", 1.5, 2.5, "SM4")


@pytest.mark.parametrize(
    ("name", "zone", "expected"),
    [
        ("20260501_213000.wav", None, "2026-05-01T21:30:00"),
        ("20260501_213000.wav", "Europe/Berlin", "2026-05-01T21:30:00+02:00"),
        ("20260501_213000Z.wav", "Europe/Berlin", "2026-05-01T21:30:00+00:00"),
    ],
)
def test_a_zone_is_for_times_that_name_none(name, zone, expected):
    zone = None if zone is None else parse_zone(zone)
    assert said(Path(name), zone=zone) == ("name", expected)
    assert said(Path("x.wav"), zone=zone, start=datetime.fromisoformat(expected)) == ("option", expected)


MISWRITTEN = {
    "length 0": lambda rest: riff(FMT, b"data\0\0\0\0", SAMPLES, rest),
    "length unknown": lambda rest: riff(FMT, b"data\xff\xff\xff\xff", SAMPLES, rest),
    "length of the file": lambda rest: riff(FMT, b"data" + struct.pack("<I", len(SAMPLES) + 36), SAMPLES, rest),
    "not padded": lambda rest: riff(FMT, b"data" + struct.pack("<I", 199), SAMPLES[:199], rest),
    "not padded, but the next": lambda rest: riff(
        FMT, b"data" + struct.pack("<I", 199), SAMPLES[:199], chunk(b"guan", rest[8:] + b"x")
    ),
    "padded": lambda rest: riff(FMT, b"data" + struct.pack("<I", 199), SAMPLES[:199], b"\0", rest),
    "part of a frame": lambda rest: riff(FMT, b"data\0\0\0\0", SAMPLES[:199], rest),
    "RF64": lambda rest: riff(
        *(chunk(b"ds64", struct.pack("<QQQI", 0, len(SAMPLES), 0, 0)), FMT, b"data\xff\xff\xff\xff", SAMPLES, rest),
        form=b"RF64",
    ),
    "two others between": lambda rest: riff(FMT, DATA, chunk(b"SMMD", b"abc"), chunk(b"junk", bytes(9)), rest),
    "length of the last too long": lambda rest: riff(FMT, DATA, rest[:4] + b"\xff\xff\0\0" + rest[8:]),
    "no samples": lambda rest: riff(FMT, rest),
    "24 bits in 2 bytes": lambda rest: riff(FMT[:-2] + b"\x18\0", DATA, rest),
}


@pytest.mark.parametrize("how", MISWRITTEN)
def test_chunks_are_found_where_headers_are_wrong(tmp_path, how):
    assert said(written(tmp_path, MISWRITTEN[how](GUAN))) == ("guano", WHEN["guano"])


def test_of_a_recording_that_broke_off_what_stood_before_is_read(tmp_path):
    content = riff(FMT, ICMT, b"data" + struct.pack("<I", 1 << 20), SAMPLES)
    assert said(written(tmp_path, content)) == ("audiomoth", WHEN["audiomoth"])


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus", "mp3", "aiff"])
def test_the_sentence_of_an_audiomoth_survives_conversion(tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    formats = {"flac": "FLAC", "ogg": "OGG", "opus": "OGG", "mp3": "MP3", "aiff": "AIFF"}
    subtype = "OPUS" if kind == "opus" else None
    with soundfile.SoundFile(path, "w", 48000, 1, subtype=subtype, format=formats[kind]) as file:
        file.comment = SENTENCE
        file.write(np.zeros(48000, np.float32))
    origin = read_origin(path)
    assert (said(path), origin.recorder) == (("audiomoth", WHEN["audiomoth"]), "AudioMoth 0FE081F80FE081F0")


def test_the_sentence_is_found_under_other_names(tmp_path):
    """Of a FLAC that ffmpeg made, in `DESCRIPTION`; of an MP3, in a text of the user."""
    tag = b"ID3\4\0\0\0\0\1\0TXXX\0\0\0\x60\0\0\3comment\0" + SENTENCE.encode()
    assert said(written(tmp_path, tag.ljust(1000, b"\0"), "x.mp3")) == ("audiomoth", WHEN["audiomoth"])


def block(kind, content, last=False):
    return bytes([kind | 0x80 * last]) + struct.pack(">I", len(content))[1:] + content


@pytest.mark.parametrize("tagged", [False, True])
def test_chunks_that_a_flac_keeps_of_a_wav(tmp_path, tagged):
    """As `flac --keep-foreign-metadata` writes them."""
    blocks = [block(2, b"riff" + part) for part in (riff()[:12], FMT, b"data" + struct.pack("<I", 99), BEXT, GUAN)]
    content = b"fLaC" + block(0, bytes(34)) + b"".join(blocks) + block(1, b"", last=True) + b"\xff\xf8"
    tag = b"ID3\4\0\0\0\0\0\4abcd" if tagged else b""
    assert said(written(tmp_path, tag + content, "x.flac")) == ("guano", WHEN["guano"])


def test_a_flac_of_frontier_labs(tmp_path):
    tags = [b"SensorUid=000010", b"RecordingStart=2019-04-01 00:00:01", b"SensorLocation=+19.2144 +152.8811"]
    comments = struct.pack("<I", 13) + b"Frontier Labs" + struct.pack("<I", 3)
    comments += b"".join(struct.pack("<I", len(tag)) + tag for tag in tags)
    content = b"fLaC" + block(0, bytes(34)) + block(4, comments, last=True)
    origin = read_origin(written(tmp_path, content, "x.flac"), parse_zone("+10:00"))
    start = datetime(2019, 4, 1, 0, 0, 1, tzinfo=timezone(timedelta(hours=10)))
    assert origin == Origin(start, "tag", 19.2144, 152.8811, "Frontier Labs 000010")


@pytest.mark.parametrize("kind", ["wav", "flac"])
@pytest.mark.parametrize(
    ("date", "name", "expected"),
    [
        ("2026-05-01T10:00:00.250+02:00", "renamed", "2026-05-01T10:00:00.250000+02:00"),
        ("2026-05-01T10:00:00+02:00", "20200101T000000_yard_Dog", "2026-05-01T10:00:00+02:00"),
        ("", "20200101T000000_yard_Dog", "2020-01-01T00:00:00+00:00"),
        ("", "20200101T000000.500+0100_yard_Dog", "2020-01-01T00:00:00.500000+01:00"),
    ],
)
def test_clips_of_ours(tmp_path, kind, date, name, expected):
    """Older ones only have their name, which was in UTC."""
    path = tmp_path / f"{name}.{kind}"
    with soundfile.SoundFile(path, "w", 32000, 1) as file:
        file.software = "htsat-edge"
        if date:
            file.date = date
        file.write(np.zeros(100, np.float32))
    assert said(path, zone=parse_zone("Asia/Tokyo")) == ("clip", expected)


def test_a_name_like_that_of_a_clip_is_no_clip(tmp_path):
    path = written(tmp_path, riff(FMT, DATA), "20200101T000000_site-1_001.wav")
    assert said(path) == ("name", "2020-01-01T00:00:00")


def test_what_is_no_file_has_its_name_only(tmp_path):
    """A pipe that nobody writes to would be waited for."""
    os.mkfifo(tmp_path / "20260501_213000.wav")
    (tmp_path / "20260501_213001.wav").mkdir()
    assert said(tmp_path / "20260501_213000.wav") == ("name", "2026-05-01T21:30:00")
    assert said(tmp_path / "20260501_213001.wav") == ("name", "2026-05-01T21:30:01")
    assert said(tmp_path / "vanished" / "20260501_213002.wav") == ("name", "2026-05-01T21:30:02")
    assert read_origin(Path("-")) == Origin()
    assert read_origin(Path("a\0b.wav")) == Origin()


def test_a_file_called_like_standard_input_is_not_read(tmp_path, monkeypatch):
    written(tmp_path, riff(FMT, DATA, GUAN), "-")
    monkeypatch.chdir(tmp_path)
    assert read_origin(Path("-")) == Origin()
    assert said(Path("./-").absolute()) == ("guano", WHEN["guano"])


def test_names_may_be_no_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\n_20260501_213000.flac")
    path.write_bytes(b"fLaC")
    assert said(path) == ("name", "2026-05-01T21:30:00")


HEADS = [
    b"",
    riff(FMT, DATA),
    riff(FMT, ICMT),
    riff(GUAN),
    riff(form=b"RF64"),
    b"fLaC" + block(0, bytes(34)),
    b"OggS",
    b"ID3",
]
CHUNK_NAMES = st.sampled_from([b"data", b"fmt ", b"LIST", b"guan", b"wamd", b"bext", b"ds64"])


@given(
    st.sampled_from(HEADS),
    st.lists(st.one_of(st.binary(max_size=60), CHUNK_NAMES, st.integers(0, 300).map(lambda n: struct.pack("<I", n)))),
    st.sampled_from(["wav", "flac", "mp3", "raw", ""]),
)
@settings(max_examples=200, deadline=None)
def test_no_bytes_raise(tmp_path_factory, head, rest, suffix):
    path = tmp_path_factory.getbasetemp() / f"odd.{suffix}"
    path.write_bytes(head + b"".join(rest))
    read_origin(path, timezone.utc)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_damage_raises(tmp_path_factory, data):
    content = bytearray(riff(FMT, ICMT, BEXT, DATA, WAMD, GUAN))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    read_origin(written(tmp_path_factory.getbasetemp(), bytes(content), "damaged.wav"), timezone.utc)


def wav_file(path):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 32000, 0, "NONE", ""))
        file.writeframes(SAMPLES)
    return path


ZONES = st.none() | st.integers(-48, 56).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1), timezones=ZONES)
DEGREES = st.tuples(st.floats(0.001, 90), st.floats(-180, 180)).map(lambda place: tuple(round(x, 6) for x in place))


@given(TIMES, DEGREES)
@settings(max_examples=50, deadline=None)
def test_what_the_reference_of_guano_writes_is_read(tmp_path_factory, moment, degrees):
    guano = pytest.importorskip("guano")
    path = wav_file(tmp_path_factory.getbasetemp() / "guano.wav")
    file = guano.GuanoFile(str(path))
    file["Timestamp"], file["Loc Position"], file["Make"], file["Model"] = moment, degrees, "Pettersson", "D1000X"
    file.write(make_backup=False)
    origin = read_origin(path)
    assert (origin.start, origin.start.utcoffset()) == (moment, moment.utcoffset())
    assert (origin.latitude, origin.longitude, origin.recorder) == (*degrees, "Pettersson D1000X")


@given(TIMES.map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)), st.sampled_from("T "))
@settings(max_examples=50, deadline=None)
def test_guano_is_read_as_its_reference_reads_it(tmp_path_factory, moment, between):
    guano = pytest.importorskip("guano")
    part = "milliseconds" if moment.microsecond else "seconds"
    lines = f"GUANO|Version: 1.0\nTimestamp: {moment.isoformat(between, part)}\nLoc Position: 52.5 -13.25\n"
    path = written(tmp_path_factory.getbasetemp(), riff(FMT, chunk(b"guan", lines.encode()), DATA), "read.wav")
    theirs, ours = guano.GuanoFile(str(path)), read_origin(path)
    assert (ours.start, ours.start.utcoffset()) == (theirs["Timestamp"], theirs["Timestamp"].utcoffset())
    assert (ours.latitude, ours.longitude) == theirs["Loc Position"]
