"""The unit for systemd: what it is allowed, and that a microphone is within that."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.daemon.config import DaemonConfig

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "htsat-edge.service"
MOST = 25
"""Tenths of systemd-analyze's exposure, which goes to 10."""


class Repeated(dict):
    """A section whose keys may be given several times."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and key in self:
            value = self[key] + value
        super().__setitem__(key, value)


@pytest.fixture(scope="module")
def service():
    """The [Service] section: lists of values by key."""
    parser = configparser.RawConfigParser(strict=False, dict_type=Repeated, delimiters="=")
    parser.optionxform = str
    parser.read(UNIT)
    return {key: value.splitlines() for key, value in parser["Service"].items()}


def test_it_runs_the_command_as_a_user_without_rights(service):
    (command,) = service["ExecStart"]
    assert command.endswith("/htsat-edge listen --config /etc/htsat-edge/detector.yaml")
    assert service["Type"] == ["notify"]
    assert service["DynamicUser"] == ["yes"]
    assert service["CapabilityBoundingSet"] in ([], [""])
    assert service["UMask"] == ["0077"]


def test_what_can_never_work_is_not_tried_again_for_ever(service):
    """A missing package ended with status 2 every five seconds."""
    assert service["Restart"] == ["always"]
    assert service["RestartPreventExitStatus"] == ["2"]


def test_an_engine_can_be_built_where_the_bundle_is_read_only(service):
    assert service["ProtectSystem"] == ["strict"]
    assert service["CacheDirectory"] == ["htsat-edge"]


def test_sound_cards_and_what_names_them_are_in_reach(service):
    assert "char-alsa rw" in service["DeviceAllow"]
    assert "audio" in service["SupplementaryGroups"][0].split()
    assert "PrivateDevices" not in service
    assert "ProcSubset" not in service  # /proc/cpuinfo
    assert {"AF_UNIX", "AF_INET", "AF_INET6"} <= set(service["RestrictAddressFamilies"][0].split())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: sudo apt install systemd")
def test_its_exposure_is_low():
    """It was 6.5."""
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST}", "--no-pager", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd before 250 looks at running units alone")
    assert done.returncode == 0, done.stdout.splitlines()[-1] + done.stderr


def test_what_is_installed_for_it_is_what_its_configuration_needs():
    """A package that is missing ends it with status 2, and it is not tried again."""
    config = read_yaml(ROOT / "configs" / "jetson.yaml", DaemonConfig)
    needed = {name for name in ("mqtt", "metrics") if getattr(config.outputs, name) is not None}
    needed |= {"web"} if config.web is not None else set()
    assert needed == {"metrics"}
    told = [
        line
        for line in (ROOT / "docs" / "daemon.md").read_text().splitlines()
        if "/opt/htsat-edge/.venv/bin/pip" in line
    ]
    assert len(told) == 2  # on a Jetson, and elsewhere
    for line in told:
        assert needed <= set(re.search(r"\[(.*)\]", line)[1].split(","))
