import pytest

from htsat_edge.htsat.doubts import Counts, doubts_of_data, doubts_of_foreign, notes_of_held

ENOUGH = Counts(8, 2)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((2, 1, {"a": ENOUGH, "b": ENOUGH}), []),
        ((1, 1, {"a": ENOUGH}), ["one class only"]),
        ((2, 0, {"a": ENOUGH}), ["no folder `background`"]),
        ((2, 1, {"a": ENOUGH, "Chop": Counts(2, 1)}), ["Chop has 2 recordings, 1 to learn from: 8 at least."]),
        ((2, 1, {"Chop": Counts(1, 0)}), ["Chop has 1 recording, none held back, and is never measured: 8 at least."]),
        ((2, 1, {"Chop": Counts(9, 0)}), ["Chop has 9 recordings, none held back, and is never measured."]),
        ((9, 1, dict.fromkeys("abcdefg", Counts(2, 1))), [*(f"{label} has" for label in "abcde"), "2 more classes:"]),
        ((1, 0, {"a": Counts(4, 2)}), ["one class only", "no folder `background`", "a has 4 recordings, 2 to"]),
    ],
)
def test_each_doubt_is_said_where_there_is_reason(data, said):
    found = doubts_of_data(*data)
    assert len(found) == len(said)
    assert all(words in doubt for words, doubt in zip(said, found, strict=True))


@pytest.mark.parametrize(("held", "notes"), [([(5, 3), (0, 0)], 0), ([(5, 3), (4, 4)], 1), ([(9, 2), (4, 4)], 1)])
def test_that_few_held_recordings_say_little_is_noted_once(held, notes):
    assert len(notes_of_held(held)) == notes


def test_foreign_sounds_are_doubted_above_a_twentieth_or_where_they_are_not_known():
    assert doubts_of_foreign(0.05, "Pig 3") == []
    (much,) = doubts_of_foreign(0.42, "Pig 3")
    assert much.startswith("42 % of other sounds raise an event, reported as Pig 3.")
    (unknown,) = doubts_of_foreign(None, "")
    assert "not measured" in unknown
