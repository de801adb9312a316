"""Thresholds in a configuration: what is written, what is kept, and what is refused."""

import os
import re
from datetime import datetime
from pathlib import Path

import pytest

import htsat_edge.configs
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.tuning import configuration
from htsat_edge.runtime.tuning.configuration import plan
from htsat_edge.runtime.tuning.records import ThresholdChange

SHIPPED = (Path(htsat_edge.configs.__file__).parent / "detector.yaml").read_bytes()
needs_no_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def change(label="Dog", threshold=0.62, source=None):
    return ThresholdChange(source=source, label=label, threshold=threshold)


@pytest.fixture
def shipped(tmp_path):
    path = tmp_path / "detector.yaml"
    path.write_bytes(SHIPPED)
    return path


@pytest.fixture
def put(tmp_path):
    def write(text):
        (tmp_path / "detector.yaml").write_text(text)
        return tmp_path / "detector.yaml"

    return write


def test_the_shipped_file_changes_in_the_lines_of_thresholds_alone(shipped):
    planned = plan(shipped, [change(), change("Cattle, bovinae", 0.30004), change("Bird", 0.5, source="microphone")])
    assert [line for line in planned.diff.splitlines() if line[0] in "+-"] == [
        f"--- {shipped}",
        f"+++ {shipped}",
        "-  thresholds: {}                # for some classes, "
        'whatever else is said: {Dog: 0.6, "Cattle, bovinae": 0.3}',
        '+  thresholds: {Dog: 0.62, "Cattle, bovinae": 0.3}                # for some classes, '
        'whatever else is said: {Dog: 0.6, "Cattle, bovinae": 0.3}',
        "-    detection: {}               # what differs from `detection` here: groups, labels, threshold, thresholds, "
        "confirm_s, release …",
        "+    detection: {thresholds: {Bird: 0.5}}               # what differs from `detection` here: groups, labels, "
        "threshold, thresholds, confirm_s, release …",
    ]
    assert shipped.read_bytes() == SHIPPED
    planned.write()
    config = read_yaml(shipped, DaemonConfig)
    assert config.detection.thresholds == {"Dog": 0.62, "Cattle, bovinae": 0.3}
    assert config.detection_of("microphone").thresholds == {"Dog": 0.62, "Cattle, bovinae": 0.3, "Bird": 0.5}
    assert plan(shipped, [change()]).diff == ""


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_other_encodings_and_line_ends_are_kept(shipped, encoding):
    shipped.write_bytes(SHIPPED.decode().replace("\n", "\r\n").encode(encoding))
    before = shipped.read_bytes()
    backup = plan(shipped, [change()]).write()
    assert backup.read_bytes() == before
    expected = before.decode(encoding).replace("thresholds: {}  ", "thresholds: {Dog: 0.62}  ", 1)
    assert shipped.read_bytes().decode(encoding) == expected
    assert shipped.read_bytes()[:3] == before[:3]


def test_the_old_file_is_kept_beside_it_under_a_date_and_nothing_is_overwritten(shipped, monkeypatch):
    class Noon(datetime):
        @classmethod
        def now(cls):
            return cls(2026, 11, 27, 12, 0, 5)

    monkeypatch.setattr(configuration, "datetime", Noon)
    shipped.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(shipped, 1234, 2345)
    foreign = shipped.with_name("detector.yaml.2026-11-27T12-00-05")
    foreign.symlink_to("nowhere")
    status = shipped.stat()
    backup = plan(shipped, [change()]).write()
    assert backup.name == "detector.yaml.2026-11-27T12-00-05-2"
    assert backup.read_bytes() == SHIPPED
    assert foreign.is_symlink()
    for path in (shipped, backup):
        now = path.stat()
        assert (now.st_mode, now.st_uid, now.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    assert sorted(shipped.parent.iterdir()) == sorted([shipped, backup, foreign])


def test_a_link_stays_a_link(shipped, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.yaml"
    link.symlink_to("../detector.yaml")
    backup = plan(link, [change()]).write()
    assert link.is_symlink()
    assert backup.parent == tmp_path
    assert read_yaml(shipped, DaemonConfig).detection.thresholds == {"Dog": 0.62}


def test_a_file_that_has_changed_meanwhile_or_cannot_be_written_is_left_as_it_is(shipped, monkeypatch):
    planned = plan(shipped, [change()])
    shipped.write_bytes(SHIPPED + b"# mine\n")
    with pytest.raises(HtsatEdgeError, match="has changed since it was read"):
        planned.write()

    def full(path, content):
        if path.suffix == ".part":
            raise OSError(28, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr(configuration, "_write", full)
    with pytest.raises(HtsatEdgeError, match="No space left on device; what was there is as it was"):
        plan(shipped, [change()]).write()
    assert shipped.read_bytes() == SHIPPED + b"# mine\n"
    assert [*shipped.parent.iterdir()] == [shipped]


@needs_no_root
def test_a_folder_that_cannot_be_written_to(shipped):
    planned = plan(shipped, [change()])
    shipped.parent.chmod(0o555)
    with pytest.raises(HtsatEdgeError, match="Permission denied; its folder must be writable"):
        planned.write()
    shipped.parent.chmod(0o755)


def test_a_source_with_its_own_threshold_keeps_it_and_that_is_said(put):
    path = put(
        "sources:\n- {name: yard, file: a.wav, detection: {thresholds: {Dog: 0.4}}}\n- name: gate\n  file: b.wav\n"
    )
    assert plan(path, [change(), change("Bird")]).notes == ["yard keeps its own threshold of Dog, 0.4"]
    assert plan(path, [change(source="yard")]).kept == ()
    assert plan(path, [change(source="gate/2")]).after == path.read_text() + (
        "  detection:\n    thresholds:\n      Dog: 0.62\n"
    )


def test_no_secret_is_in_the_difference(put):
    path = put("detection: {hop_s: 0.32}\nsources:\n- name: a\n  stream: {url: 'rtsp://me@camera/1?key=hidden'}\n")
    diff = plan(path, [change()]).diff
    assert "+detection: {hop_s: 0.32, thresholds: {Dog: 0.62}}" in diff
    diff = plan(path, [change(source="a")]).diff
    assert "rtsp://camera/1?…" in diff
    assert "hidden" not in diff


@pytest.mark.parametrize(
    ("text", "changes", "error"),
    [
        ("web: null", [change("Dgo")], r"detection.thresholds: .*Dgo.*meant Dog"),
        ("detection: {groups: {Pet: [Dog, Bird]}}", [change()], "'Dog' is a part of the group Pet: write 'Pet'"),
        ("web: null", [change(threshold=0.99999)], r"detection.thresholds.Dog: .*less than 1"),
        ("sources: [{name: yard, file: a.wav}]", [change(source="yrad")], "`sources` has no yrad, meant yard?"),
        ("web: null", [change(source="yard")], "has no yard; it has none; without a source, thresholds are for all"),
        ("detecton: {}", [change()], "unknown key, meant detection?"),
        ("a: [", [change()], "is not YAML"),
        ("sources: 5", [change(source="yard")], "sources: "),
        ("sources: [{name: [yard]}, {name: 2020-01-01}, 3]", [change(source="yard")], "sources.0"),
        (
            "detection: {thresholds: &all {Dog: 0.3}, confirm_s: *all}",
            [change(), change("Bird", 0.4)],
            r"shared or merged .*write it by hand: detection: \{thresholds: \{Dog: 0.62, Bird: 0.4\}\}",
        ),
    ],
)
def test_what_is_refused_in_one_line(put, text, changes, error):
    path = put(text)
    with pytest.raises(HtsatEdgeError) as refused:
        plan(path, changes)
    assert re.search(error, str(refused.value))
    assert str(refused.value).count("\n") == 0
    assert path.read_text() == text


def test_what_is_there_already_is_not_written_again(put):
    path = put("detection: {thresholds: {Dog: 0.62}}")
    with pytest.raises(HtsatEdgeError, match="has these thresholds already; nothing was written"):
        plan(path, [change()]).write()
    assert list(path.parent.iterdir()) == [path]


def test_a_link_to_itself_is_refused(tmp_path):
    path = tmp_path / "detector.yaml"
    path.symlink_to(path)
    with pytest.raises(HtsatEdgeError, match=r"detector.yaml: cannot be read: "):
        plan(path, [change()])


def test_what_is_no_file_is_refused(tmp_path):
    for path in (Path("/dev/stdin"), Path("/dev/fd/0"), tmp_path):
        with pytest.raises(HtsatEdgeError, match="give the configuration by its name"):
            plan(path, [change()])
    with pytest.raises(HtsatEdgeError, match="no such file"):
        plan(tmp_path / "none.yaml", [change()])
