"""Sound cards as the kernel shows them, also to a container."""

from htsat_edge.runtime.daemon.sources.cards import find_card, list_cards, stable_id


def test_a_card_keeps_its_ids(cards):
    assert find_card("usb:0D8C:0014", cards) == 2
    assert find_card("alsa:tegra", cards) == 0
    assert find_card("alsa:x", cards) is None


def test_a_card_whose_neighbour_has_an_odd_id_is_found(cards):
    (cards / "card0" / "id").write_bytes(b"K\xfcche\n")
    assert find_card("alsa:Device", cards) == 2
    assert find_card("alsa:K\xfcche", cards) == 0


def test_a_sound_card_has_an_id_that_finds_it_again(cards):
    assert stable_id("ReSpeaker 4 Mic Array: USB Audio (hw:3,0)", cards) == "usb:2886:0018"
    assert stable_id("tegra-hda: HDMI (hw:0,3)", cards) == "alsa:tegra"
    assert stable_id("(hw:3,0)", cards) == "usb:2886:0018"
    assert stable_id("default", cards) is None
    assert stable_id("odd (hw:Device)", cards) is None


def test_what_is_no_card_is_left_out(cards, plug_in):
    """Cards are in the order of their numbers."""
    plug_in(10, "Device")
    plug_in("1x", "Odd")
    plug_in("0_bad", "Odd")
    assert [name for name, _ in list_cards(cards)] == ["card0", "card2", "card3", "card10"]
    assert find_card("alsa:Device", cards) == 2
    assert find_card("alsa:Odd", cards) is None


def test_an_empty_id_is_none(plug_in):
    plug_in(1, "")
    plug_in(2, "", ":")
    assert find_card("alsa:", plug_in.cards) is None
    assert find_card("usb::", plug_in.cards) is None
    assert [stable_id(f"x (hw:{number},0)", plug_in.cards) for number in (1, 2)] == [None, None]


def test_a_card_that_was_plugged_in_again_is_another_one(plug_in):
    """Though its number, its id and its place are the same."""
    assert list_cards(plug_in.cards) == []
    plug_in(1, "Device")
    before = list_cards(plug_in.cards)
    assert [name for name, _ in before] == ["card1"]
    assert list_cards(plug_in.cards) == before
    card, kept = plug_in.cards / "card1", plug_in.cards / "kept"
    card.resolve().rename(kept)  # which keeps its inode from being used again
    assert list_cards(plug_in.cards) == []
    card.resolve().mkdir()
    assert list_cards(plug_in.cards) not in ([], before)
