from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.archive.recorded.names import read_name
from htsat_edge.runtime.archive.records import Origin

RECORDERS = {
    "20260501_213000.WAV": "2026-05-01T21:30:00",
    "20260501_213000T.WAV": "2026-05-01T21:30:00",
    "24F319055FDF2A05_20260501_213000.WAV": "2026-05-01T21:30:00",
    "5AFCD4F4.WAV": "2018-05-17T01:03:48+00:00",
    "5AFCD4F4.flac": "2018-05-17T01:03:48+00:00",
    "58500064.WAV": "2016-12-13T14:06:28+00:00",
    "SMM03873_20220719_000000.wav": "2022-07-19T00:00:00",
    "2MM04797_20241127_155140.wav": "2024-11-27T15:51:40",
    "S4A02641_20250220_170000.wav": "2025-02-20T17:00:00",
    "SBT-6-76-18_0+1_20160621_080000.wav": "2016-06-21T08:00:00",
    "SBT-6-76-18_-0-_20160621$080000.wav": "2016-06-21T08:00:00",
    "FNQ-RBS_20190102_044802_010.wav": "2019-01-02T04:48:02.010000",
    "SITE_20160621_080000-0500.wav": "2016-06-21T08:00:00-05:00",
    "EPTFUS_20260501_213000.wav": "2026-05-01T21:30:00",
    "SwiftOne_20220719_000000_-0400.wav": "2022-07-19T00:00:00-04:00",
    "55063_2024-11-27_T16-47-33.wav": "2024-11-27T16:47:33",
    "20190309T020000+1000_REC.flac": "2019-03-09T02:00:00+10:00",
    "S20240815T063250.7812+1000_E20240815T063755.7812+1000_rec.wav": "2024-08-15T06:32:50.781200+10:00",
    "PAM_20150109_143000_123.wav": "2015-01-09T14:30:00.123000",
    "671629352.181204100002.wav": "2018-12-04T10:00:02",
    "260501-213000.wav": "2026-05-01T21:30:00",
    "2024-05-01-birdnet-12:34:56.wav": "2024-05-01T12:34:56",
    "2024-05-01-birdnet-RTSP_2-12:34:56.wav": "2024-05-01T12:34:56",
    "turdus_merula_87p_20240501T123456Z.m4a": "2024-05-01T12:34:56+00:00",
    "20260111 135431-096B2196.m4a": "2026-01-11T13:54:31",
    "2026-05-01T21:30:00.250+02:00.flac": "2026-05-01T21:30:00.250000+02:00",
    "2026-05-01 21.30.00.mp3": "2026-05-01T21:30:00",
    "20070415051314.wav.trimmed.wav": "2007-04-15T05:13:14",
    "prefix_20140101T235959+10.mp3": "2014-01-01T23:59:59+10:00",
    "20091219T070006.789123+1130_00600.wav": "2009-12-19T07:00:06.789123+11:30",
    "20261399_101010_20260501_213000.wav": "2026-05-01T21:30:00",
    "20260501_213000": "2026-05-01T21:30:00",
}
"""Times by the names that recorders give."""
NOTHING = [
    "20261399_101010.wav",
    "20260230_101010.wav",
    "20260501_250000.wav",
    "20260501.wav",
    "20260501_2130.wav",
    "230514_0001.wav",
    "230514_001.wav",
    "site_230514_213000.wav",
    "231314_213000.wav",
    "510501_213000.wav",
    "ZOOM0001.WAV",
    "55667788.wav",
    "20190401.WAV",
    "5AFCD4F.WAV",
    "5afcd4f4.wav",
    "ABCDEF01.WAV",
    "120260501_213000.wav",
    "20260501_2130001.wav",
    "1999999999_99999999.wav",
    "19700101_000000.WAV",
    "110212__user__20sounds.wav",
    "5042.181304100002.wav",
    "",
    ".wav",
]


@pytest.mark.parametrize("name", RECORDERS)
def test_times_of_recorders(name):
    said = read_name(name)
    assert said.start.isoformat() == RECORDERS[name]
    assert said.said_by == "name"


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_not_certainly_a_time_is_none(name):
    assert read_name(name) == Origin()


@pytest.mark.parametrize(
    "name",
    [
        "20140101-235959-1234.wav",
        "20140101-235959-04005.wav",
        "20140101_235959_-18.25.wav",
        "20140101_235959_5+1.wav",
        "20140101_235959Zoo.wav",
        "20140101_235959_Z.wav",
    ],
)
def test_what_follows_a_time_is_not_always_a_zone(name):
    assert read_name(name).start == datetime(2014, 1, 1, 23, 59, 59)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("20190309T020000+1000_REC [19.2052 152.8719].flac", (19.2052, 152.8719)),
        ("20181101_060000_REC [-27.3866 152.8761].flac", (-27.3866, 152.8761)),
        ("20210617T180000+1000_Rec2_-18.2656+144.5564.flac", (-18.2656, 144.5564)),
        ("20210617_180000_-18.2656-044.5564.flac", (-18.2656, -44.5564)),
        ("20190309T020000+1000_REC [0.0000 0.0000].flac", (None, None)),
        ("20190309T020000+1000_REC [91.0000 0.0000].flac", (None, None)),
        ("20190309T020000+1000_REC [19.21440152.8811].flac", (None, None)),
        ("20190309T020000+1000_REC.flac", (None, None)),
    ],
)
def test_places(name, place):
    said = read_name(name)
    assert (said.latitude, said.longitude) == place
    assert said.start is not None


def test_the_serial_number_of_a_soundtrap_names_it():
    assert read_name("5042.181204100002.wav").recorder == "SoundTrap 5042"


@given(
    st.datetimes(datetime(1981, 1, 1), datetime(2099, 12, 31)).map(lambda moment: moment.replace(microsecond=0)),
    st.sampled_from(["%Y%m%d_%H%M%S", "%Y%m%dT%H%M%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d_%H-%M-%S", "%Y%m%d$%H%M%S"]),
    st.from_regex(r"([A-Za-z]{1,8}_)?", fullmatch=True),
    st.from_regex(r"(_[A-Za-z]{1,8})?", fullmatch=True),
)
def test_every_time_is_found_among_other_letters(moment, pattern, before, after):
    assert read_name(f"{before}{moment.strftime(pattern)}{after}.wav").start == moment


@given(st.text(st.sampled_from("0123456789_-T.$ +Z[]:"), max_size=40))
def test_no_name_is_too_odd(name):
    said = read_name(name)
    assert (said.start is None) == (said.said_by == "")
