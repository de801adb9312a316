import pytest

from htsat_edge.htsat.doubts import doubts_of_data, doubts_of_foreign

ENOUGH = (5, 3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ((2, 1, {"a": ENOUGH, "b": ENOUGH}), []),
        ((1, 1, {"a": ENOUGH}), ["one class only"]),
        ((2, 0, {"a": ENOUGH}), ["no folder `background`"]),
        ((2, 1, {"a": ENOUGH, "b": (4, 3)}), ["held back of b:"]),
        ((2, 1, {"a": (9, 2), "b": (0, 0)}), ["held back of a; b:"]),
        ((9, 1, dict.fromkeys("abcdefg", (1, 1))), ["held back of a; b; c; d; e and 2 more:"]),
        ((1, 0, {"a": (2, 2)}), ["one class only", "no folder `background`", "held back of a:"]),
    ],
)
def test_each_doubt_is_said_where_there_is_reason(data, said):
    found = doubts_of_data(*data)
    assert len(found) == len(said)
    assert all(words in doubt for words, doubt in zip(said, found, strict=True))


def test_foreign_sounds_are_doubted_above_a_twentieth_or_where_they_are_not_known():
    assert doubts_of_foreign(0.05, "Pig 3") == []
    (much,) = doubts_of_foreign(0.42, "Pig 3")
    assert much.startswith("42 % of other sounds raise an event, reported as Pig 3.")
    (unknown,) = doubts_of_foreign(None, "")
    assert "not measured" in unknown
