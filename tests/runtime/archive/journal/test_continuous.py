"""What sounds across the border of two recordings of one recorder is one event; nothing else ever is."""

from datetime import datetime, timedelta, timezone
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.archive.journal import Journal, KeptEvent
from htsat_edge.runtime.archive.records import ArchiveFile, FoundEvent, FoundInRecording, Origin, Quality

BASE, MIDNIGHT = Path("/archive"), datetime(2026, 5, 1)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Keep recordings: (path, start in seconds, duration, events, recorder), and return what tables say."""

    def scan(*recordings, within_s=2.0, zones=(None,) * 9):
        with Journal.open(tmp_path_factory.mktemp("results"), {}, BASE) as journal:
            journal.add_found(ArchiveFile(BASE / path, 1, 1) for path, *_ in recordings)
            for (path, start_s, duration_s, events, *recorder), zone in zip(recordings, zones, strict=False):
                start = None if start_s is None else MIDNIGHT.replace(tzinfo=zone) + timedelta(seconds=start_s)
                found = tuple(FoundEvent(*event) for event in events)
                origin = Origin(start, "name", recorder=recorder[0] if recorder else "")
                journal.finish(BASE / path, FoundInRecording(duration_s, 8000, 1, Quality(), found, origin))
            return {str(kept.path.relative_to(BASE)): kept.events for kept in journal.recordings(within_s)}

    return scan


LATE, EARLY = [(0, "Rain", 50.0, 60.0, 0.5)], [(0, "Rain", 0.0, 5.0, 0.75)]
JOINED = (KeptEvent(0, "Rain", 50.0, 65.0, 0.75, BASE / "b.wav"),)
APART = {"a.wav": (KeptEvent(*LATE[0]),), "b.wav": (KeptEvent(*EARLY[0]),)}


def test_an_event_goes_on_in_the_next_recording(scan):
    assert scan(("a.wav", 0, 60.0, LATE), ("b.wav", 60, 60.0, EARLY)) == {"a.wav": JOINED, "b.wav": ()}


def test_by_the_clock_also_where_that_is_not_quite_right(scan):
    found = scan(("a.wav", 0, 60.0, LATE), ("b.wav", 61.5, 60.0, EARLY))
    assert found["a.wav"] == (KeptEvent(0, "Rain", 50.0, 66.5, 0.75, BASE / "b.wav"),)
    assert scan(("a.wav", 0, 60.0, LATE), ("b.wav", 59, 60.0, EARLY))["a.wav"][0].offset == 64.0


@pytest.mark.parametrize(
    "other",
    [
        ("b.wav", 62.5, 60.0, EARLY),  # something is missing between
        ("b.wav", 57.5, 60.0, EARLY),  # they overlap
        ("b.wav", None, 60.0, EARLY),
        ("b.wav", 60, 60.0, [(1, "Rain", 0.0, 5.0, 0.75)]),
        ("b.wav", 60, 60.0, [(0, "Wind", 0.0, 5.0, 0.75)]),
        ("b.wav", 60, 60.0, [(0, "Rain", 0.7, 5.0, 0.75)]),  # begins later
        ("b.wav", 60, 60.0, EARLY, "Another recorder"),
        ("site/b.wav", 60, 60.0, EARLY),
    ],
)
def test_what_does_not_follow_is_not_joined(scan, other):
    found = scan(("a.wav", 0, 60.0, LATE), other)
    assert found == {"a.wav": APART["a.wav"], other[0]: tuple(KeptEvent(*event) for event in other[3])}


def test_an_event_that_ends_before_the_border_ends(scan):
    early = [(0, "Rain", 50.0, 59.3, 0.5)]
    assert scan(("a.wav", 0, 60.0, early), ("b.wav", 60, 60.0, EARLY))["b.wav"] == APART["b.wav"]


def test_a_time_with_a_zone_and_one_without_say_nothing_of_each_other(scan):
    hour = timezone(timedelta(hours=1))  # at which the first has just ended, if the second were in UTC
    late = [(0, "Rain", 3590.0, 3600.0, 0.5)]
    recordings = ("a.wav", 0, 3600.0, late), ("b.wav", 7200, 3600.0, EARLY)
    assert scan(*recordings, zones=(None, hour))["b.wav"] == APART["b.wav"]
    assert scan(*recordings, zones=(timezone.utc, hour))["b.wav"] == ()


def test_the_border_of_two_folders_is_crossed_by_a_recorder_that_is_known(scan):
    recordings = ("day1/a.wav", 0, 60.0, LATE), ("day2/b.wav", 60, 60.0, EARLY)
    known = [(*one, "AudioMoth 24F319055FDF2A5B") for one in recordings]
    assert scan(*known)["day1/a.wav"][0].end == BASE / "day2/b.wav"
    assert scan(*((*one, "AudioMoth") for one in recordings))["day1/a.wav"][0].end is None


@pytest.mark.parametrize("third", [("c.wav", 60.5, 60.0, EARLY), ("c.wav", 0.5, 60.0, LATE)])
def test_where_two_could_be_the_next_or_the_last_none_is(scan, third):
    found = scan(("a.wav", 0, 60.0, LATE), ("b.wav", 60, 60.0, EARLY), third)
    assert all(event.end is None for events in found.values() for event in events)
    assert all(len(events) == 1 for events in found.values())


def test_two_recorders_in_one_folder_keep_apart(scan):
    found = scan(
        ("a1.wav", 0, 60.0, LATE, "S1"), ("a2.wav", 0, 60.0, LATE, "S2"), ("b1.wav", 60, 60.0, EARLY, "S1"),
        ("b2.wav", 60, 60.0, EARLY, "S2"),
    )  # fmt: skip
    assert found["a1.wav"][0].end == BASE / "b1.wav"
    assert found["a2.wav"][0].end == BASE / "b2.wav"


def test_of_short_recordings_the_next_but_one_is_not_the_next(scan):
    short = [(0, "Rain", 0.0, 1.0, 0.5)]
    found = scan(*((f"{number}.wav", number, 1.0, short) for number in range(5)))
    assert found.pop("0.wav") == (KeptEvent(0, "Rain", 0.0, 5.0, 0.5, BASE / "4.wav"),)
    assert found == {f"{number}.wav": () for number in range(1, 5)}


def test_by_the_time_and_not_by_the_name(scan):
    found = scan(("z.wav", 0, 60.0, LATE), ("a.wav", 60, 60.0, EARLY))
    assert found == {"a.wav": (), "z.wav": (KeptEvent(0, "Rain", 50.0, 65.0, 0.75, BASE / "a.wav"),)}


def test_only_the_last_and_the_first_of_a_class_are_one(scan):
    before = [(0, "Rain", 50.0, 59.5, 0.5), (0, "Rain", 59.9, 60.0, 0.5)]
    after = [(0, "Rain", 0.0, 0.2, 0.5), (0, "Rain", 0.5, 5.0, 0.5)]
    found = scan(("a.wav", 0, 60.0, before), ("b.wav", 60, 60.0, after))
    assert found["a.wav"] == (KeptEvent(*before[0]), KeptEvent(0, "Rain", 59.9, 60.2, 0.5, BASE / "b.wav"))
    assert found["b.wav"] == (KeptEvent(*after[1]),)


def test_without_the_option_nothing_is_joined(scan):
    assert scan(("a.wav", 0, 60.0, LATE), ("b.wav", 60, 60.0, EARLY), within_s=None) == APART


SOUNDS = st.dictionaries(
    st.sampled_from(["Dog", "Rain"]), st.lists(st.tuples(st.integers(2, 40), st.integers(2, 40)), max_size=6)
)
"""By class, how long nothing is heard, and then something."""


@settings(max_examples=40, deadline=None)
@given(sounds=SOUNDS, lengths=st.lists(st.integers(4, 60), min_size=1, max_size=6))
def test_what_was_cut_by_borders_is_as_it_was(scan, sounds, lengths):
    """The twin: events on one timeline, which is then cut into recordings, as a recorder does."""
    borders = [0, *accumulate(lengths)]
    whole = []
    for label, pairs in sounds.items():
        ends = list(accumulate(length for pair in pairs for length in pair))
        whole += [(label, on, min(off, borders[-1])) for on, off in zip(ends[::2], ends[1::2], strict=True)]
    whole = [one for one in whole if one[1] < one[2]]
    recordings = [
        (
            f"{begin}.wav",
            begin,
            float(end - begin),
            [
                (0, label, float(max(on, begin) - begin), float(min(off, end) - begin), 0.5)
                for label, on, off in whole
                if on < end and off > begin
            ],
        )
        for begin, end in pairwise(borders)
    ]
    joined = [
        (event.label, int(Path(name).stem) + event.onset, int(Path(name).stem) + event.offset)
        for name, events in scan(*recordings).items()
        for event in events
    ]
    assert sorted(joined) == sorted(whole)
