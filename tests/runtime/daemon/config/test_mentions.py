"""Where a configuration names classes."""

from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config.mentions import find_mentions, taken_names
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

CONFIG = DaemonConfig.model_validate(
    {
        "detection": {"thresholds": {"Bell": 0.4}, "labels": ["Dog", "Bell"], "groups": {"Pets": ["Dog", "Cat"]}},
        "sources": [
            {
                "name": "yard",
                "file": "yard.flac",
                "detection": {"confirm_s": {"Bell": 1}, "groups": {"Door": ["Bell"]}},
            },
            {"name": "Bell", "file": "bell.flac"},
        ],
        "rules": {
            "suppress": {"Dog": {"while": "Bell"}},
            "cooldown_s": {"Bell": 3},
            "quiet_hours": [{"from": "22:00", "to": "06:00", "labels": "Bell"}],
        },
        "level": {"event": {"above_db": -20, "label": "Bang"}},
        "outputs": {"notify": {"services": {"Bell": {"url": {"env": "A"}}}, "rules": [{"labels": "Bell"}]}},
    }
)


def test_what_is_reported_beside_the_classes_of_the_model():
    assert taken_names(CONFIG, load_bundle(BUNDLED).info) == ["Pets", "Door", "Bang"]
    assert taken_names(DaemonConfig(), load_bundle(BUNDLED).info) == []


def test_every_place_that_names_a_class_is_found():
    assert find_mentions(CONFIG, "Bell") == [
        "detection.labels",
        "detection.thresholds",
        "sources.yard.detection.groups.Door.labels",
        "sources.yard.detection.confirm_s",
        "rules.suppress.Dog.while",
        "rules.cooldown_s",
        "rules.quiet_hours.labels",
        "outputs.notify.rules.labels",
    ]
    assert find_mentions(CONFIG, "Gate") == []
    assert find_mentions(DaemonConfig(), "Bell") == []
