"""The unit for systemd of a collector."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "htsat-edge-collect.service"
MOST = 20
"""Tenths of systemd-analyze's exposure, which goes to 10."""


def test_it_runs_the_command_as_a_user_without_rights_where_its_store_is():
    lines = UNIT.read_text().splitlines()
    (command,) = [line for line in lines if line.startswith("ExecStart=")]
    assert command.endswith("/htsat-edge collect --config /etc/htsat-edge/collector.yaml")
    for wanted in (
        "DynamicUser=yes",
        "CapabilityBoundingSet=",
        "UMask=0077",
        "StateDirectory=htsat-edge-collect",
        "WorkingDirectory=/var/lib/htsat-edge-collect",
        "Restart=always",
        "RestartPreventExitStatus=2",
    ):
        assert wanted in lines


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze: sudo apt install systemd")
def test_its_exposure_is_low():
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST}", "--no-pager", UNIT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd before 250 looks at running units alone")
    assert done.returncode == 0, done.stdout.splitlines()[-1] + done.stderr
