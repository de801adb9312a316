import pytest
import yaml

from htsat_edge.runtime.commands.cli import main
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig

SOURCES = "sources: [{name: yard, file: x}, {name: array, microphone: {channel: each}}]"


@pytest.fixture
def read(tmp_path):
    """Reads rules, beside two sources."""

    def parse(text):
        path = tmp_path / "detector.yaml"
        path.write_text(f"rules: {text}\n{SOURCES}\n")
        return read_yaml(path, DaemonConfig).rules

    return parse


def test_rules_as_people_write_them(read):
    rules = read(
        "{suppress: {Owl: {while: Dog, within_s: 60}, Cat: {while: [Dog, Owl]}}, cooldown_s: {Dog: 30},"
        ' quiet_hours: [{from: "22:00", to: "6:30"}, {from: "0:00", to: "0:00", days: [sat, sun], labels: Dog}]}'
    )
    assert rules.suppress["Owl"].while_ == ["Dog"]
    assert [rule.within_s for rule in rules.suppress.values()] == [60, 0]
    assert rules.suppress["Cat"].while_ == ["Dog", "Owl"]
    assert [rules.cooldown_of(label) for label in ("Dog", "Owl")] == [30, 0]
    night, weekend = rules.quiet_hours
    assert (night.from_, night.to, night.days, night.labels, night.sources) == ("22:00", "06:30", None, None, None)
    assert (weekend.from_, weekend.days, weekend.labels) == ("00:00", ["sat", "sun"], ["Dog"])


def test_one_cooldown_is_that_of_every_class(read):
    rules = read("{cooldown_s: 15}")
    assert [rules.cooldown_of(label) for label in ("Dog", "Owl")] == [15, 15]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{supress: {}}", "rules.supress: unknown key, meant suppress?"),
        ("{suppress: {Owl: {whlie: Dog}}}", "rules.suppress.Owl.while: key is missing"),
        ("{suppress: {Owl: {while: Dog, whithin_s: 6}}}", "rules.suppress.Owl.whithin_s: unknown key, meant within_s?"),
        ("{suppress: {Owl: {while: Dog, while_: Cat}}}", "rules.suppress.Owl.while_: unknown key, meant while?"),
        ("{suppress: {Owl: {while: []}}}", "rules.suppress.Owl.while: List should have at least 1 item"),
        ("{suppress: {Owl: {while: Dog, within_s: -1}}}", "rules.suppress.Owl.within_s: Input should be greater than"),
        ("{suppress: {Owl: {while: [Dog, Owl]}}}", "rules: suppress.Owl.while: is Owl itself; cooldown_s is for that"),
        ("{cooldown_s: -1}", "rules.cooldown_s: want s, or s by class: {Dog: 60}, not -1"),
        ("{cooldown_s: {Dog: long}}", "rules.cooldown_s: want s, or s by class: {Dog: 60}, not a mapping"),
        (
            "{quiet_hours: [{from: 22:00, to: '6:00'}]}",
            'quiet_hours.0.from: want a time of day in quotes, from "00:00"',
        ),
        ("{quiet_hours: [{from: '22:00', to: '24:00'}]}", "rules.quiet_hours.0.to: want a time of day in quotes"),
        ("{quiet_hours: [{from: '22:60', to: '6:00'}]}", "rules.quiet_hours.0.from: want a time of day in quotes"),
        ('{quiet_hours: [{from: "22:00\\n", to: "6:00"}]}', "rules.quiet_hours.0.from: want a time of day in quotes"),
        ("{quiet_hours: [{from: '22:00', to: '6:00', days: [monday]}]}", "quiet_hours.0.days.0: Input should be 'mon'"),
        (
            "{quiet_hours: [{from: '22:00', to: '6:00', sources: [yrad]}]}",
            "rules.quiet_hours.0.sources: 'yrad' is no source, meant yard?",
        ),
        (
            "{quiet_hours: [{from: '22:00', to: '6:00', sources: kitchen/1}]}",
            "rules.quiet_hours.0.sources: 'kitchen/1' is no source; there is array, yard",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text, message, read):
    with pytest.raises(HtsatEdgeError) as raised:
        read(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_source_may_be_a_channel(read):
    (hours,) = read("{quiet_hours: [{from: '22:00', to: '6:00', sources: [array/2, array]}]}").quiet_hours
    assert hours.sources == ["array/2", "array"]


def test_what_is_printed_is_read_again(read, tmp_path, capsys):
    read("{suppress: {Owl: {while: Dog}}, cooldown_s: 15, quiet_hours: [{from: '6:00', to: '7:00', sources: yard}]}")
    path = tmp_path / "detector.yaml"
    assert main(["listen", "--config", str(path), "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["rules"]["suppress"] == {"Owl": {"while": ["Dog"], "within_s": 0.0}}
    before = read_yaml(path, DaemonConfig)
    path.write_text(printed)
    assert read_yaml(path, DaemonConfig) == before


def test_the_schema_has_the_keys_of_the_file():
    parts = DaemonConfig.model_json_schema()["$defs"]
    assert parts["SuppressConfig"]["required"] == ["while"]
    assert parts["SuppressConfig"]["properties"]["while"]["anyOf"][0] == {"type": "string"}
    assert {"from", "to", "days", "labels", "sources"} == set(parts["QuietHoursConfig"]["properties"])
    assert parts["QuietHoursConfig"]["properties"]["from"]["pattern"] == "^([01]?[0-9]|2[0-3]):[0-5][0-9]$"
