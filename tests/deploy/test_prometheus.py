"""What Prometheus and Grafana ask for is what a device serves."""

import json
import re
import shutil
import subprocess

import pytest
import yaml

from htsat_edge.runtime.daemon.assembly import assemble
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.metrics import Collector

pytest.importorskip("prometheus_client")
NAME = re.compile(r"\bhtsat_edge_\w+")
OF_PROMETHEUS = {"instance", "job"}
ONLY_REMOTE = {"htsat_edge_remote_ready": set()}
"""Served only where a server runs the model."""


@pytest.fixture(scope="module")
def served(farmyard):
    """The labels of each metric that a device serves, by name as Prometheus has it."""
    sources = [{"name": "yard", "file": farmyard}]
    config = {"model": {"backend": "onnxruntime"}, "outputs": {"stdout": False}, "sources": sources}
    with assemble(DaemonConfig.model_validate(config)) as parts:
        found = {**ONLY_REMOTE}
        for family in Collector(StatusReader(parts.sessions, parts.scorer, parts.publisher)).collect():
            endings = {"counter": ["_total"], "summary": ["_count", "_sum"]}.get(family.type, [""])
            found |= {f"{family.name}{ending}": {*family._labelnames} for ending in endings}
        return found


@pytest.fixture(scope="module")
def rules(root):
    """The alerts of rules.yml."""
    (group,) = yaml.safe_load((root / "deploy" / "prometheus" / "rules.yml").read_text())["groups"]
    return group["rules"]


@pytest.fixture(scope="module")
def board(root):
    """The dashboard."""
    return json.loads((root / "deploy" / "grafana" / "htsat-edge.json").read_text())


def check_expression(expression, served):
    """Check that what is named exists, that brackets are closed; return the labels that its metrics have."""
    names = NAME.findall(expression)
    assert {*names} <= served.keys(), expression
    for opened, closed in ("()", "{}", "[]"):
        assert expression.count(opened) == expression.count(closed), expression
    labels = OF_PROMETHEUS.union(*(served[name] for name in names))
    for named in re.findall(r"\b(?:by|on|without|ignoring) *\(([^)]*)\)", expression):
        assert {*re.split(r", *", named)} <= labels, expression
    return labels


def test_an_alert_is_of_what_a_device_serves(rules, served):
    assert len(rules) == len({rule["alert"] for rule in rules}) >= 8
    for rule in rules:
        labels = check_expression(rule["expr"], served)
        assert rule["labels"]["severity"] in ("warning", "critical")
        summary = rule["annotations"]["summary"]
        assert {*re.findall(r"\$labels\.(\w+)", summary)} <= labels, rule["alert"]
        for used in re.findall(r"{{(.*?)}}", summary):
            assert re.fullmatch(r" \$labels\.\w+ | \$value( \| humanize\w*)? ", used), summary


def test_prometheus_reads_the_rules_and_the_port_of_the_metrics(root):
    config = yaml.safe_load((root / "deploy" / "prometheus" / "prometheus.yml").read_text())
    assert config["rule_files"] == ["rules.yml"]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "htsat-edge"
    assert job["static_configs"][0]["targets"] == ["localhost:9464"]


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool: sudo apt install prometheus")
@pytest.mark.parametrize(
    "arguments", ["check config deploy/prometheus/prometheus.yml", "test rules tests/deploy/alerts.yml"]
)
def test_prometheus_itself_finds_the_alerts_right(root, arguments):
    done = subprocess.run(["promtool", *arguments.split()], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_heard_to_ring(root, rules):
    tests = yaml.safe_load((root / "tests" / "deploy" / "alerts.yml").read_text())["tests"]
    ringing = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert ringing == {rule["alert"] for rule in rules}


def test_a_panel_is_of_what_a_device_serves(board, served):
    for panel in board["panels"]:
        for target in panel["targets"]:
            labels = check_expression(target["expr"].replace("$__rate_interval", "1m"), served)
            assert {*re.findall(r"{{(\w+)}}", target["legendFormat"])} <= labels, panel["title"]
            assert 'instance=~"$device"' in target["expr"]
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_panels_fill_the_grid_and_do_not_overlap(board):
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len(taken) == 24 * (max(y for _, y in taken) + 1)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_dashboard_belongs_to_no_server(board):
    """Neither a data source of one installation, nor an id of a database."""
    assert board.get("id") is None
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "device"]


def test_a_pause_within_the_hour_is_no_lost_audio(rules):
    """As alerts.yml has it, also where no promtool is installed."""
    (lost,) = [rule["expr"] for rule in rules if rule["alert"] == "HtsatEdgeAudioLost"]
    assert {*re.findall(r"\[(\w+)\]", lost)} == {"1h"}
    assert lost.endswith("unless on (instance, source) max_over_time(htsat_edge_paused[1h]) == 1")
