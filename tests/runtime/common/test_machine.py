import os
import stat
import sys

import numpy as np
import pytest

from htsat_edge.runtime.common import machine as this_machine
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import (
    Machine,
    cores,
    installed_versions,
    load_onnxruntime,
    processors_off,
    read_machine,
    refuse_crash,
)

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


def topology(folder, **lists):
    for name, numbers in lists.items():
        (folder / name).write_text(f"{numbers}\n")
    return folder


@pytest.mark.parametrize("numbers", ["0", "0-11"])
def test_all_processors_are_on(numbers, tmp_path):
    assert processors_off(topology(tmp_path, online=numbers, present=numbers, possible=numbers)) == ""


@pytest.mark.parametrize(
    ("lists", "text"),
    [
        (("0-3,8-11", "0-11", "0-11"), "online 0-3,8-11, present 0-11, possible 0-11"),
        (("0-3", "0-7", "0-7"), "online 0-3, present 0-7, possible 0-7"),
        (("0-3,8-11",) * 3, "online 0-3,8-11, present 0-3,8-11, possible 0-3,8-11"),
        (("1-3",) * 3, "online 1-3, present 1-3, possible 1-3"),
    ],
)
def test_processors_that_are_off(lists, text, tmp_path):
    files = dict(zip(("online", "present", "possible"), lists, strict=True))
    assert processors_off(topology(tmp_path, **files)) == text


def test_processors_of_which_nothing_is_known(tmp_path):
    assert processors_off(topology(tmp_path)) == "online unknown, present unknown, possible unknown"


def test_an_onnxruntime_that_would_end_the_process_is_not_loaded(crashing):
    for _ in range(2):
        with pytest.raises(HtsatEdgeError) as raised:
            load_onnxruntime()
        assert str(raised.value) == (
            "onnxruntime ends with SIGABRT when it is loaded, as before 1.27 where processors are turned off "
            "(online 0-3,8-11, present 0-11, possible 0-11): turn all of them on (nvpmodel on a Jetson), or take "
            'Python 3.11 or newer and pip install "onnxruntime>=1.27"'
        )
    topology(crashing, online="0-11")  # all of them: it is not even tried
    assert load_onnxruntime() is sys.modules["onnxruntime"]


@pytest.mark.parametrize("content", ["", "raise ImportError"])
def test_an_onnxruntime_that_works_or_is_missing_is_no_crash(content, crashing):
    (crashing / "onnxruntime.py").write_text(content)
    refuse_crash("online 0-3, present 0-7, possible 0-7")


def test_it_is_tried_once(crashing, monkeypatch):
    tried = []
    monkeypatch.setattr(this_machine, "trial_of", lambda library: tried.append(library) or [sys.executable, "-c", ""])
    for _ in range(2):
        refuse_crash("online 0-3, present 0-7, possible 0-7")
    assert tried == ["onnxruntime"]


@pytest.mark.parametrize(
    ("installed", "is_tried"),
    [
        ({"onnxruntime": "1.27.0"}, False),
        ({"onnxruntime-gpu": "2.0.0rc1"}, False),
        ({"onnxruntime": "1.9.1"}, True),
        ({"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.23.0"}, True),  # which one is loaded is not known
        ({"onnxruntime": "unknown"}, True),
        ({}, True),
    ],
)
def test_one_that_cannot_end_the_process_is_not_tried(installed, is_tried, crashing, monkeypatch):
    monkeypatch.setattr(this_machine, "installed_versions", lambda *_: installed)
    tried = []
    monkeypatch.setattr(this_machine, "refuse_crash", tried.append)
    assert load_onnxruntime() is sys.modules["onnxruntime"]
    assert bool(tried) == is_tried


def test_one_that_does_not_load_is_given_up(crashing, monkeypatch):
    (crashing / "onnxruntime.py").write_text("import time; time.sleep(60)\n")
    monkeypatch.setattr(this_machine, "TRIAL_S", 0.1)
    for _ in range(2):
        with pytest.raises(HtsatEdgeError, match=r"^onnxruntime is not loaded within 0.1 s: end what else runs here, "):
            load_onnxruntime()
        monkeypatch.setattr(this_machine, "trial_of", lambda _: pytest.fail("it was tried again"))
