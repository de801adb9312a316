"""The recordings to measure on, and the windows of them that graphs are compared on."""

from argparse import Namespace

import numpy as np
import onnx
import pytest
import soundfile

from htsat_edge.calibration import material
from htsat_edge.calibration.accuracy import main as accuracy
from htsat_edge.calibration.material import (
    fit_classes,
    leave_out_nameless,
    open_graph,
    probe_windows,
    read_material,
    why_refused,
    with_classes,
)
from htsat_edge.calibration.quantize import main as quantize
from htsat_edge.evaluation.datasets import Dataset
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import ort
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, load_bundle

INFO = load_bundle(BUNDLED).info


def write(path, seconds, level=0.1):
    soundfile.write(path, np.random.default_rng(0).normal(0, level, round(seconds * 32_000)), 32_000)
    return Labelled(path)


def read(*clips, dataset=None, fold=None):
    return read_material(Namespace(clips=list(clips), dataset=dataset, fold=fold), INFO)


def test_manifests_are_read_together_and_must_agree(tmp_path):
    for name, text in {"a": "file,class\na.wav,Dog\n", "b": "file,class\nb.wav,Rain\n", "c": "file\nb.wav\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
        write(tmp_path / f"{name}.wav", 0.1)
    found = read(tmp_path / "a.csv", tmp_path / "b.csv")
    assert [(r.path.name, r.labels) for r in found.recordings] == [("a.wav", {"Dog"}), ("b.wav", {"Rain"})]
    with pytest.raises(HtsatEdgeError, match=r"--clips: b\.wav has no class, but others have"):
        read(tmp_path / "a.csv", tmp_path / "c.csv")


def test_recordings_without_a_manifest_have_no_labels(tmp_path):
    write(tmp_path / "a.wav", 1)
    assert read(tmp_path).recordings == [Labelled(tmp_path / "a.wav")]


def test_a_fold_is_for_sets_that_have_some(tmp_path):
    (tmp_path / "a.csv").write_text("file,class\na.wav,Dog\n")
    write(tmp_path / "a.wav", 0.1)
    with pytest.raises(HtsatEdgeError, match=r"--fold: .*a\.csv has no fold 1, nor any other"):
        read(tmp_path / "a.csv", fold=1)


@pytest.mark.parametrize(("split", "count"), [("val", 2), ("test", 2), ("", 2), ("train", 1)])
def test_what_is_learned_from_is_not_measured_on(split, count, tmp_path):
    other = split and "val"
    (tmp_path / "a.csv").write_text(f"file,class,split\na.wav,Dog,{split}\nb.wav,Rain,{other}\n")
    for name in "ab":
        write(tmp_path / f"{name}.wav", 0.1)
    assert [r.path.name for r in read(tmp_path / "a.csv").recordings] == ["a.wav", "b.wav"][2 - count :]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,class\na.wav,Dgo\n", r"a\.csv: row 1 has class 'Dgo', which is no label of the model, meant Dog\?"),
        ("file,class\na.wav,Pxylon\n", "no label of the model; leave such rows out"),
        ("file,class,onset,offset\na.wav,Dog,0,1\nb.wav,Rain,,\n", r"b\.wav has no onset and offset, but others have"),
        (
            "file,class,onset,offset\na.wav,Dog,3,5\na.wav,Rain,0,9\na.wav,Dog,4,6\n",
            r"a\.csv: row 1: a\.wav: Dog from 4 s begins before the one from 3 s ends, at 5 s; make one event of them",
        ),
        ("file,class,split\na.wav,Dog,train\n", "names no recording to measure on: all are train"),
    ],
)
def test_what_cannot_be_measured_on(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    for name in "ab":
        write(tmp_path / f"{name}.wav", 0.1)
    with pytest.raises(HtsatEdgeError, match=message) as caught:
        read(tmp_path / "a.csv")
    assert "\n" not in str(caught.value)


def test_what_is_not_measured_is_not_decoded(tmp_path, capsys):
    """Its damage refused the run."""
    rows = [f"{i}.wav,Dog,{'train' if i < 8 else 'test'}" for i in range(10)]
    (tmp_path / "a.csv").write_text("\n".join(["file,class,split", *rows, ""]))
    for i in range(10):
        write(tmp_path / f"{i}.wav", 0.1)
    for i in range(4):
        (tmp_path / f"{i}.wav").write_bytes(b"")
    assert [r.path.name for r in read(tmp_path / "a.csv").recordings] == ["8.wav", "9.wav"]
    assert capsys.readouterr().out == f"{tmp_path}/a.csv: 10 recordings, 1 class (Dog); 8 train, 2 test\n"


def test_folders_are_classes_where_one_is_a_label(tmp_path, capsys):
    for name in ("Dog", "2024-05-01"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.wav", 0.1)
    with pytest.raises(HtsatEdgeError, match="has class '2024-05-01', which is no label of the model"):
        read(tmp_path)
    (tmp_path / "Dog").rename(tmp_path / "2024-05-02")
    assert [r.labels for r in read(tmp_path).recordings] == [None, None]
    assert "no folder has the name of a label of the model: measured without labels" in capsys.readouterr().out
    (tmp_path / "2024-05-02").rename(tmp_path / "dog")
    (tmp_path / "2024-05-01").rename(tmp_path / "Rain")
    with pytest.raises(HtsatEdgeError, match=r"has class 'dog', which is no label of the model, meant Dog\?"):
        read(tmp_path)


def test_classes_of_a_set_are_made_of_the_labels_of_the_model():
    assert fit_classes(None, ["Dog"]) is None
    classes = {"Dog": ["Dog", "Bark", "Yip"], "Cat": ["Meow"]}
    assert fit_classes(classes, ["Meow", "Bark", "Dog"]) == {"Dog": ["Dog", "Bark"], "Cat": ["Meow"]}
    assert fit_classes(classes, ["Cat", "Dog", "Rain"]) == {"Dog": ["Dog"], "Cat": ["Cat"]}
    with pytest.raises(HtsatEdgeError, match="--clips: the model has none of the labels that belong to Cat"):
        fit_classes(classes, ["Dog"])


def test_classes_that_audioset_lacks_are_not_measured(capsys):
    both = Labelled("a", frozenset(["Dog", "Gull"]), (Occurrence(0, 1, "Dog"), Occurrence(0, 1, "Gull")))
    alone, nothing, unknown = Labelled("b", frozenset(["Gull"])), Labelled("c", frozenset(), ()), Labelled("d")
    dataset = Dataset([both, alone, nothing, unknown], classes={"Dog": ["Dog"], "Gull": []})
    found = leave_out_nameless(dataset, ["Dog", "Rain"])
    assert found.recordings == [Labelled("a", frozenset(["Dog"]), (Occurrence(0, 1, "Dog"),)), nothing, unknown]
    assert (found.classes, found.left_out) == ({"Dog": ["Dog"]}, {"of classes that are no label of AudioSet": 1})
    assert capsys.readouterr().out == "not measured, as they are no labels of AudioSet: Gull\n"
    assert leave_out_nameless(dataset, ["Dog", "Gull"]) is dataset


def test_a_data_set_with_classes_of_its_own_has_no_thresholds_of_the_model():
    assert with_classes(INFO, None) is INFO
    info = with_classes(INFO, {"Animal": ["Dog", "Sheep"], "Weather": ["Rain"]})
    assert (info.labels, info.thresholds, info.median_steps) == (["Animal", "Weather"], {}, {})
    assert info.step_s == INFO.step_s


@pytest.mark.parametrize(("recordings", "seconds", "count"), [(1, 31, 4), (20, 11, 20)])
def test_probes_come_from_all_over_the_material_without_silence(recordings, seconds, count, tmp_path):
    found = [write(tmp_path / f"{i}.wav", seconds) for i in range(recordings)]
    silent = write(tmp_path / "silent.wav", seconds, level=0)
    probes = probe_windows([*found, silent], INFO)
    assert all(probe.shape == (1024, 64) for probe in probes)
    assert len(probes) == count


@pytest.mark.usefixtures("unwritable")
@pytest.mark.parametrize(("command", "file"), [(quantize, "model.json"), (accuracy, "accuracy.json")])
def test_a_bundle_that_cannot_be_written_to_is_known_before_recordings_are_read(command, file, small_bundle, capsys):
    assert command([str(small_bundle), "--clips", "absent"]) == 2
    assert f"{small_bundle / file}: cannot be written: Permission denied" in capsys.readouterr().err


def test_a_graph_that_onnxruntime_refuses_is_measured_with_its_rounding_in_float(half_rounding, monkeypatch):
    opened = []
    monkeypatch.setattr(material, "OrtBackend", lambda path, info, content: opened.append(content))
    monkeypatch.setattr(material, "open_backend", lambda bundle, name, kind: opened.append(name))
    monkeypatch.setattr(ort, "ROUNDS_HALF", (10**6, 0))
    bundle = Bundle(half_rounding.parent, INFO)
    assert why_refused(half_rounding).startswith(f"{half_rounding}: onnxruntime ")
    open_graph(bundle, "int8_fp16", None)
    graph = onnx.load_from_string(opened.pop()).graph
    assert [node.op_type for node in graph.node] == ["Cast", "Cast", "QuantizeLinear", "DequantizeLinear"]
    monkeypatch.setattr(ort, "ROUNDS_HALF", (0, 0))
    assert why_refused(half_rounding) == ""
    open_graph(bundle, "int8_fp16", None)
    assert opened == ["int8_fp16"]  # what is timed is what runs
