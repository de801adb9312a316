"""configs/collector.yaml, and what is wrong in such a file."""

import re

import pytest
import yaml

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.fleet.config import CollectorConfig, FleetBrokerConfig
from htsat_edge.runtime.store.engine import PostgresUrl


def test_collector_yaml_has_the_defaults():
    least = {"broker": {"host": "localhost"}, "store": {"path": "fleet.db"}}
    assert read_yaml(CONFIGS / "collector.yaml", CollectorConfig) == CollectorConfig.model_validate(least)


def keys(model):
    for name, field in model.model_fields.items():
        yield name
        if name in ("broker", "store"):
            yield from keys(field.annotation)


def test_collector_yaml_has_every_key():
    text = (CONFIGS / "collector.yaml").read_text()
    assert [key for key in keys(CollectorConfig) if not re.search(rf"^(# | *){key}:", text, re.MULTILINE)] == []


@pytest.mark.parametrize(
    ("section", "error"),
    [
        ({"broker": {"host": "x", "topics": []}}, "broker.topics: List should have at least 1 item"),
        (
            {"broker": {"host": "x", "topics": ["htsat-edge/#"]}},
            "broker.topics.0: want the topic of a device, in which +",
        ),
        ({"broker": {"host": "x", "topics": ["barn+/x"]}}, "broker.topics.0: want the topic of a device, in which +"),
        ({"broker": {"host": "x", "topics": ["$SYS/+"]}}, "broker.topics.0: want the topic of a device, in which +"),
        ({"broker": {"host": "x", "client_id": "a\x1b"}}, "broker.client_id: want text of one line, without control"),
        ({"store": {}}, "store: want one of path (a file) and url (a PostgreSQL server)"),
        (
            {"store": {"path": "a", "url": {"env": "B"}}},
            "store: want one of path (a file) and url (a PostgreSQL server)",
        ),
        ({"store": {"path": "a", "keep_days": 0}}, "store.keep_days: Input should be greater than 0"),
        ({"page_password": "sesame"}, "page_password: "),
        ({"page_password": {"env": "PAGES"}}, "page_hosts: key is missing: say which hosts may get page_password"),
        ({"page_hosts": ["barn.lan", "http://barn.lan"]}, "page_hosts.1: want the name or address of a host, without"),
        ({"page_hosts": ["barn.lan:8480"]}, "page_hosts.0: want the name or address of a host, without http:// and a"),
        ({"page_hosts": ["["]}, "page_hosts.0: want the name or address of a host, without http:// and a port"),
        ({"store": {"path": "postgresql://me:sesame@host/fleet"}}, "store.path: is a URL: say in `url` where that is"),
        ({"web": {"start": False}}, "web.start: is a key of a device's page alone"),
        ({"web": {"socket": "live"}}, "web.socket: is a key of a device's page alone"),
        ({"store": {"url": "postgresql://me:sesame@host/fleet"}}, "store.url: "),
        ({"brokr": {}}, "brokr: unknown key, meant broker?"),
        ({"client_id": "x"}, "client_id: unknown key, meant broker.client_id?"),
    ],
)
def test_what_is_wrong_is_one_line_without_a_secret(tmp_path, section, error):
    path = tmp_path / "collector.yaml"
    path.write_text(yaml.safe_dump({"broker": {"host": "x"}, "store": {"path": "a"}, **section}))
    with pytest.raises(HtsatEdgeError) as raised:
        read_yaml(path, CollectorConfig)
    assert f"collector.yaml: {error}" in str(raised.value)
    assert "sesame" not in str(raised.value)


def test_an_empty_list_is_said_to_be_one(tmp_path):
    path = tmp_path / "collector.yaml"
    path.write_text("broker: {host: x}\nstore: {path: a}\npage_hosts: []\n")
    with pytest.raises(HtsatEdgeError, match=r"page_hosts: List should have at least 1 item after validation, not 0$"):
        read_yaml(path, CollectorConfig)


def test_hosts_of_pages():
    hosts = ["barn.lan", "*.lan", "10.0.3.*", "barn-?", "*", "fd00::7", "fd00::*", "scheune_ä"]
    config = CollectorConfig.model_validate({"broker": {"host": "x"}, "store": {"path": "a"}, "page_hosts": hosts})
    assert config.page_hosts == hosts


def test_topics_of_devices():
    broker = FleetBrokerConfig(host="x", topics=["htsat-edge/+", "site/+/yard.1", "attic"])
    assert [
        name
        for name in (
            "htsat-edge/a",
            "htsat-edge",
            "htsat-edge/a/b",
            "htsat-edge/",
            "site/x/yard.1",
            "site/x/yard-1",
            "attic",
        )
        if broker.has(name)
    ] == ["htsat-edge/a", "site/x/yard.1", "attic"]


def test_the_url_is_a_secret(tmp_path):
    (tmp_path / "url").write_text("postgresql://me:sesame@host:5433/fleet\n")
    content = {"broker": {"host": "x"}, "store": {"url": {"file": str(tmp_path / "url")}}}
    config = CollectorConfig.model_validate(content)
    place = config.store.place()
    assert place == PostgresUrl("postgresql://me:sesame@host:5433/fleet")
    assert "sesame" not in f"{config!r} {place} {place!r}"
    (tmp_path / "url").write_text("host=x password=sesame")
    with pytest.raises(HtsatEdgeError) as raised:
        config.store.place()
    assert "sesame" not in str(raised.value)
