import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.archive.recorded import headers
from htsat_edge.runtime.archive.records import Origin


def start(said):
    return said.start and said.start.isoformat()


def wamd(*fields):
    return b"".join(struct.pack("<HI", name, len(value)) + value for name, value in fields)


def bext(originator=b"ZOOM F3", date=b"2026-05-01", clock=b"21:30:00"):
    return b"".join([bytes(256), originator.ljust(32, b"\0"), bytes(32), date, clock, bytes(264)])


FIRMWARE = {
    "1.0": (
        "Recorded at 19:10:00 06/04/2018 by AudioMoth 0FE081F80FE081F0 at gain setting 2 while battery state was 4.5V",
        "2018-04-06T19:10:00",
    ),
    "1.0.1": (
        "Recorded at 19:10:00 06/04/2018 (UTC) by AudioMoth 0FE081F80FE081F0 at gain setting 2 while battery state was "
        "> 5.0V",
        "2018-04-06T19:10:00+00:00",
    ),
    "1.2": (
        "Recorded at 04:40:00 02/09/2021 (UTC-6) by AudioMoth 0FE081F80FE081F0 at gain setting 2 while battery state "
        "was 4.6V.",
        "2021-09-02T04:40:00-06:00",
    ),
    "1.4": (
        "Recorded at 04:40:00 02/09/2021 (UTC+5:30) by AudioMoth 0FE081F80FE081F0 at medium gain setting while battery "
        "state was 4.6V and temperature was 20.1C.",
        "2021-09-02T04:40:00+05:30",
    ),
    "1.8, with a microphone": (
        "Recorded at 04:40:00 02/09/2021 (UTC+2) by AudioMoth 0FE081F80FE081F0 using external microphone at high gain "
        "while battery was greater than 4.9V and temperature was 13.3C.",
        "2021-09-02T04:40:00+02:00",
    ),
    "with GPS": (
        "Recorded at 04:40:00.250 02/09/2021 (UTC) by AudioMoth 0FE081F80FE081F0 at high gain",
        "2021-09-02T04:40:00.250000+00:00",
    ),
}


@pytest.mark.parametrize("firmware", FIRMWARE)
def test_the_sentences_of_audiomoths(firmware):
    comment, time = FIRMWARE[firmware]
    said = headers.read_sentence(comment, "AudioMoth 1111111111111111")
    assert (start(said), said.said_by, said.recorder) == (time, "audiomoth", "AudioMoth 0FE081F80FE081F0")


@pytest.mark.parametrize(
    ("artist", "recorder"), [("AudioMoth 1111111111111111", None), ("", "AudioMoth"), ("Me", "AudioMoth")]
)
def test_a_deployment_takes_the_place_of_the_recorder(artist, recorder):
    comment = "Recorded at 04:40:00 02/09/2021 (UTC) during deployment 0FE081F80FE081F0 at high gain"
    assert headers.read_sentence(comment, artist).recorder == (recorder or artist)


@pytest.mark.parametrize(
    "comment", ["", "Recorded at home", "Recorded at 04:40:00 02/13/2021 (UTC) by AudioMoth 0FE081F80FE081F0"]
)
def test_other_comments_say_nothing(comment):
    assert headers.read_sentence(comment, "AudioMoth 1111111111111111") == Origin()


@pytest.mark.parametrize(
    ("lines", "place", "recorder"),
    [
        ("", (None, None), ""),
        ("Loc Position: 37.1878 -86.1057", (37.1878, -86.1057), ""),
        ("Loc Position:(37.1878, -86.1057)", (37.1878, -86.1057), ""),
        ("Loc Position:0 0", (None, None), ""),
        ("Loc Position:37.1", (None, None), ""),
        ("Make: Wildlife  Acoustics\r\nModel:SM4\r\nSerial:S4A0", (None, None), "Wildlife Acoustics SM4 S4A0"),
        ("Model:D1000X\nTE:10", (None, None), "D1000X (time expansion 10)"),
        ("Model:D1000X\nTE:1", (None, None), "D1000X"),
        ("Model:D1000X\nTE:-", (None, None), "D1000X"),
        ("\0\0no colon\0\n", (None, None), ""),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \0\0"])
@pytest.mark.parametrize("time", ["2026-05-01T21:30:00+02:00", " 2026-05-01 21:30:00+02:00 "])
def test_guano(lines, place, recorder, end, time):
    said = headers.read_guano(f"GUANO|Version: 1.0\n{lines}\nTimestamp:{time}{end}".encode())
    assert (start(said), said.said_by) == ("2026-05-01T21:30:00+02:00", "guano")
    assert (said.latitude, said.longitude, said.recorder) == (*place, recorder)


def test_guano_without_a_time_may_say_the_place():
    assert headers.read_guano(b"Timestamp:soon\nLoc Position:1 2\nMake:\xe9") == Origin(None, "", 1.0, 2.0, "é")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (b"2014-04-02 22:59:14-05:00", "2014-04-02T22:59:14-05:00"),
        (b"2014-04-02 22:59:14.125", "2014-04-02T22:59:14.125000"),
        (b"2014-04-02 22:59:14", "2014-04-02T22:59:14"),
    ],
)
@pytest.mark.parametrize(
    ("gps", "place"),
    [
        (b"WGS84,52.52,N,13.40,E,34", (52.52, 13.4)),
        (b",27.38,S,86.10,W", (-27.38, -86.1)),
        (b"WGS84, -27.38, 152.88, 40", (-27.38, 152.88)),
        (b"WGS84,0,N,0,E", (None, None)),
        (b"WGS84,far,N,away,E", (None, None)),
        (b"", (None, None)),
    ],
)
def test_wamd(text, time, gps, place):
    fields = [(0, b"\1\0"), (1, b"SM4"), (2, b"S4A0\0"), (5, text), (6, gps), (13, b"\5\0" * 400), (0xFFFF, b"\0")]
    said = headers.read_wamd(wamd(*fields))
    assert (start(said), said.said_by, said.recorder) == (time, "wamd", "SM4 S4A0")
    assert (said.latitude, said.longitude) == place


@pytest.mark.parametrize(
    ("value", "note"), [(b"\x0a\0", " (time expansion 10)"), (b"10", " (time expansion 10)"), (b"\1\0", ""), (b"", "")]
)
def test_wamd_of_a_stretched_recording(value, note):
    assert headers.read_wamd(wamd((1, b"SM4BAT"), (15, value))).recorder == f"SM4BAT{note}"


def test_wamd_that_breaks_off_says_what_came_before():
    chunk = wamd((1, b"SM4"), (5, b"2014-04-02 22:59:14"), (6, b"WGS84,52.52,N,13.40,E"))
    assert start(headers.read_wamd(chunk[:-5])) == "2014-04-02T22:59:14"
    assert headers.read_wamd(chunk[:30]) == Origin(recorder="SM4")


@pytest.mark.parametrize(
    ("date", "clock"), [(b"2026-05-01", b"21:30:00"), (b"2026:05:01", b"21-30-00"), (b"2026_05_01", b"21.30.00")]
)
def test_bext(date, clock):
    said = headers.read_bext(bext(date=date, clock=clock))
    assert (start(said), said.said_by, said.recorder) == ("2026-05-01T21:30:00", "bext", "ZOOM F3")


def test_bext_without_a_time_says_nothing():
    """Programs fill in themselves as originator."""
    assert headers.read_bext(bext(date=bytes(10))) == Origin()
    assert headers.read_bext(bext(clock=b"\0" * 8)) == Origin()
    assert headers.read_bext(bext()[:330]) == Origin()


def test_tags_of_frontier_labs():
    tags = (b"RecordingStart=2019-04-01T00:00:01+1000", b"SensorUid=000010", b"SensorLocation=+19.2144 +152.8811")
    head = b"fLaC" + b"".join(struct.pack("<I", len(tag)) + tag for tag in tags)
    said = headers.read_sensor(head)
    assert (start(said), said.said_by, said.recorder) == ("2019-04-01T00:00:01+10:00", "tag", "Frontier Labs 000010")
    assert (said.latitude, said.longitude) == (19.2144, 152.8811)
    assert headers.read_sensor(b"fLaC") == Origin()


@given(st.binary(max_size=400), st.sampled_from([b"Timestamp:", b"\5\0\x19\0\0\0", bytes(320), b"RecordingStart=20"]))
def test_no_bytes_are_too_odd(content, before):
    chunk = before + content
    for read in (headers.read_guano, headers.read_wamd, headers.read_bext, headers.read_sensor):
        assert read(chunk).recorder.isprintable()
    assert headers.read_sentence(chunk.decode("latin-1")).recorder.isprintable()


def test_names_of_recorders_are_one_line():
    said = headers.read_guano("Make:a\u2028b\x1b[31m\tc\nModel:".encode() + b"x" * 500)
    assert said.recorder.startswith("a b[31m c xxx")
    assert len(said.recorder) == headers.LONGEST
