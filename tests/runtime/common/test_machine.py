import os
import stat

import numpy as np
import pytest

from htsat_edge.runtime.common.machine import Machine, cores, installed_versions, read_machine

RELEASE = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Programs of a Jetson that print what the test wants."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def add(name, says, status=0):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\nprintf '{says}'\nexit {status}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return add


def test_a_jetson_says_what_it_is(tools, tmp_path):
    (tmp_path / "release").write_text(RELEASE)
    tools("dpkg-query", "6.2+b77")
    tools("nvpmodel", "NV Power Mode: MAXN_SUPER\\n2\\n")
    machine = read_machine(tmp_path / "release")
    assert (machine.l4t, machine.jetpack, machine.power_mode) == ("36.4.3", "6.2", "MAXN_SUPER")
    assert str(machine) == "JetPack 6.2, L4T 36.4.3, power mode MAXN_SUPER"


def test_a_pc_has_its_processor(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = read_machine(tmp_path / "none")
    assert machine == Machine(processor=os.uname().machine, l4t=None, jetpack=None, power_mode=None)
    assert str(machine) == os.uname().machine


def test_tools_that_fail_and_files_that_say_nothing(tools, tmp_path):
    (tmp_path / "release").write_bytes(b"\xff\xfe nothing")
    tools("dpkg-query", "no package", status=1)
    tools("nvpmodel", "NVPM ERROR: Error opening")
    machine = read_machine(tmp_path / "release")
    assert (machine.l4t, machine.jetpack, machine.power_mode) == (None, None, None)


def test_threads_of_one_core_count_once(tmp_path, monkeypatch):
    for i, siblings in enumerate(["0-1", "0-1", "2-3", "2-3"]):
        folder = tmp_path / f"cpu{i}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert cores(tmp_path) == 2
    assert cores(tmp_path / "none") == 3


def test_a_process_has_a_core():
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_a_package_that_is_not_installed_has_no_version():
    assert installed_versions("numpy", "no-such-package") == {"numpy": np.__version__}
