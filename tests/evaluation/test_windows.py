"""Which recordings are found, and how windows are cut from them."""

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.windows import find_recordings, is_silent, windows_of
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.log_mel import LogMel
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle

INFO = load_bundle(BUNDLED).info


def test_windows_are_those_that_the_runtime_cuts(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 25 * 32_000).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 32_000, subtype="FLOAT")
    first, second, last = windows_of(AudioFile(tmp_path / "x.wav"), INFO)
    whole = LogMel(INFO.front_end)(samples)
    np.testing.assert_allclose(np.concatenate([first, second]), whole[:2048], atol=1e-3)
    assert last.shape == first.shape


@pytest.mark.parametrize(("samples", "count"), [(100, 0), (3200, 1)])
def test_a_short_recording_fills_a_window_or_none(samples, count, tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros(samples), 32_000)
    windows = list(windows_of(AudioFile(tmp_path / "x.wav"), INFO))
    assert [window.shape for window in windows] == [(1024, 64)] * count


def test_the_last_bits_of_a_converter_are_silence():
    assert is_silent(np.full((1024, 64), -66, np.float32))
    assert not is_silent(np.full((1024, 64), -64, np.float32))


def test_a_manifest_names_its_files(tmp_path):
    (tmp_path / "list.csv").write_text("file,label\na.wav,x\nb/c.wav,y\na.wav,z\n")
    assert find_recordings([tmp_path / "list.csv"]) == [tmp_path / "a.wav", tmp_path / "b" / "c.wav"]


def test_what_a_manifest_holds_back_is_not_calibrated_on(tmp_path):
    (tmp_path / "list.csv").write_text("file,class,split\na.wav,x,train\nb.wav,y,val\nc.wav,z,train\nd.wav,z,test\n")
    assert find_recordings([tmp_path / "list.csv"]) == [tmp_path / "a.wav", tmp_path / "c.wav"]
    (tmp_path / "list.csv").write_text("file,class,split\na.wav,x,train\nb.wav,y,\n")
    with pytest.raises(HtsatEdgeError, match="row 2 has no split, but others have"):
        find_recordings([tmp_path / "list.csv"])


def test_a_folder_is_searched_to_any_depth_and_nothing_is_taken_twice(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.wav", "deep/a.FLAC", "notes.txt"):
        (tmp_path / name).touch()
    found = [tmp_path / "b.wav", tmp_path / "deep" / "a.FLAC"]
    assert find_recordings([tmp_path, tmp_path / "b.wav"]) == found


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_may_have_any_names_but_what_is_held_back_is_left_out(tmp_path):
    touch(tmp_path, "one/Cam/a.wav", "one/cam /b.wav", "one/._a.wav", "one/c.m4a")
    assert [path.name for path in find_recordings([tmp_path / "one"])] == ["a.wav", "c.m4a", "b.wav"]
    touch(tmp_path / "set", "train/x/d.wav", "val/x/e.wav", "test/x/f.wav")
    assert [path.name for path in find_recordings([tmp_path / "set"])] == ["d.wav"]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(HtsatEdgeError, match="no recording in"):
        find_recordings([tmp_path / "nothing"])


def test_of_a_data_set_what_is_held_back_is_left_out(tmp_path):
    touch(tmp_path, "meta/esc50.csv", "audio/1-1-A-0.wav", "audio/2-2-A-0.wav", "audio/other.wav")
    (tmp_path / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category\n1-1-A-0.wav,1,0,dog\n2-2-A-0.wav,2,0,dog\n"
    )
    assert [path.name for path in find_recordings([tmp_path])] == ["1-1-A-0.wav", "2-2-A-0.wav"]
    assert [path.name for path in find_recordings([tmp_path], fold=2)] == ["1-1-A-0.wav"]


def test_folders_of_several_layouts_and_recordings_without_labels(tmp_path):
    """A calibration needs no labels: nothing is lost because something else has some."""
    touch(tmp_path, "esc/meta/esc50.csv", "esc/audio/1-1-A-0.wav", *(f"mine/{i}.wav" for i in range(5)))
    (tmp_path / "esc/meta/esc50.csv").write_text("filename,fold,target,category\n1-1-A-0.wav,1,0,dog\n")
    assert len(find_recordings([tmp_path / "esc", tmp_path / "mine"])) == 6
    (tmp_path / "mine" / "0.txt").write_text("0.0\t1.0\tDog\n")
    assert len(find_recordings([tmp_path / "mine"])) == 5


def test_what_is_read_and_left_out_is_printed(tmp_path, capsys):
    touch(tmp_path, "set/a.wav", "set/b.wav", "set/c.wav", "mine/0.wav", "mine/1.wav", "loose.wav")
    (tmp_path / "set" / "manifest.csv").write_text("file,split\na.wav,train\nb.wav,val\n")
    paths = [tmp_path / "set", tmp_path / "mine", tmp_path / "loose.wav"]
    assert [path.name for path in find_recordings(paths)] == ["a.wav", "0.wav", "1.wav", "loose.wav"]
    where = ", ".join(map(str, paths))
    assert capsys.readouterr().out == f"{where}: 4 recordings; left out: 1 held back, 1 no label\n"
    find_recordings([tmp_path / "mine"])
    assert capsys.readouterr().out == f"{tmp_path / 'mine'}: 2 recordings\n"


def test_what_a_table_elsewhere_holds_back_is_left_out(tmp_path):
    """Also where its recordings are named as a folder, and where the names of several tables are those of splits."""
    touch(tmp_path, "audio/a.wav", "audio/b.wav")
    for name, recording in {"train": "a.wav", "test": "b.wav"}.items():
        (tmp_path / f"{name}.csv").write_text(f"file,class\n{recording},Dog\n")
    tables = [tmp_path / "train.csv", tmp_path / "test.csv"]
    assert [path.name for path in find_recordings(tables)] == ["a.wav"]
    assert [path.name for path in find_recordings([*tables, tmp_path / "audio"])] == ["a.wav"]


def test_places_that_are_written_in_two_ways_are_one(tmp_path):
    touch(tmp_path, "set/a.wav", "other/x")
    (tmp_path / "set" / "manifest.csv").write_text(f"file,class\n{tmp_path / 'set' / 'a.wav'},Dog\n")
    found = read_dataset([tmp_path / "other" / ".." / "set"])
    assert (len(found.recordings), found.left_out) == (1, {})


def test_a_link_to_itself_does_not_end_the_search(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "x.wav").symlink_to("x.wav")
    assert {path.name for path in find_recordings([tmp_path])} == {"a.wav", "x.wav"}
