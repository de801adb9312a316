import pytest

from htsat_edge.runtime.common.suggest import suggest


@pytest.mark.parametrize(
    ("name", "hint"),
    [("Dgo", ", meant Dog?"), ("dog", ", meant Dog?"), ("FWL", ", meant Fowl?"), ("zebra", "; there are two")],
)
def test_the_nearest_name_is_meant(name, hint):
    assert suggest(name, ["Dog", "Fowl"], "; there are two") == hint


def test_what_is_far_off_is_not_meant():
    """It was: half the letters of Katze are in Water."""
    assert suggest("Katze", ["Cat", "Water", "Hammer"]) == ""


def test_without_a_near_name_there_is_nothing_to_add():
    assert suggest("zebra", ["Dog", "Fowl"]) == suggest("zebra", []) == ""
