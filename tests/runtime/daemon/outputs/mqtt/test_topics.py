"""Names of topics, whatever sources and classes are called."""

import re

import pytest

from htsat_edge.runtime.daemon.outputs.mqtt.topics import RESERVED, Topics, distinct, identifier


def test_ids_are_ascii_and_differ_where_the_names_do():
    names = [
        "Küche",
        "Kuche",
        "küche",
        "厨房",
        "…",
        "!",
        "Höhle/+#",
        "straße",
        "strasse",
        "Cattle, bovinae",
        "Dog 🐕",
        "Dog",
    ]
    ids = [identifier(name) for name in names]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", each) for each in ids)
    assert ids[1] == "kuche"
    assert re.fullmatch(r"kuche_[0-9a-f]{6}", ids[0])
    assert ids[7:10] == ["strasse", "strasse", "cattle_bovinae"]  # distinct() keeps the first two apart
    assert len({*ids[:4], *ids[6:8], ids[9]}) == 7


def test_the_first_of_several_with_one_short_form_keeps_it():
    short = distinct(["Dog", "dog", "DOG", "status"], str.casefold, ["status"])
    assert short["Dog"] == "dog"
    assert len(set(short.values())) == 4
    assert all(re.fullmatch(r"(dog|status)(_[0-9a-f]{6})?", each) for each in short.values())
    assert distinct(["Dog", "dog", "DOG", "status"], str.casefold, ["status"]) == short


@pytest.mark.parametrize(
    ("topic", "sources", "labels"),
    [
        ("htsat-edge", ["yard", "gate"], ["Dog", "Cattle, bovinae"]),
        ("haus/hütte", ["Küche", "Kuche", "厨房", "客厅"], ["Hündin", "Hundin", "Status", "event", "dog", "Dog"]),
        ("a", ["yard", "yard dog", "yard_dog"], ["dog house", "house", "dog  house"]),
        ("…", ["mic/1", "mic 1"], ["🐕", "🐈", "\udcfc"]),
    ],
)
def test_every_source_and_class_has_topics_of_its_own(topic, sources, labels):
    topics = Topics(topic, dict.fromkeys(sources, labels))
    own = {topics.of_source(source, last) for source in sources for last in RESERVED}
    states = {topics.state(source, label) for source in sources for label in labels}
    assert len(own) == len(RESERVED) * len(sources)
    assert len(states) == len(sources) * len(labels)
    assert not states & own
    assert not any(letter in state for state in states for letter in "#+")


def test_plain_names_have_the_topics_that_they_always_had():
    topics = Topics("htsat-edge", {"yard": ["Cattle, bovinae"]})
    assert topics.state("yard", "Cattle, bovinae") == "htsat-edge/yard/cattle_bovinae"


def test_a_class_that_two_sources_have_is_called_the_same_in_both():
    topics = Topics("farm", {"yard": ["Dog", "dog"], "gate": ["dog"]})
    assert topics.state("yard", "dog").removeprefix("farm/yard/").startswith("dog_")
    assert topics.state("gate", "dog") == topics.state("yard", "dog").replace("yard", "gate")
