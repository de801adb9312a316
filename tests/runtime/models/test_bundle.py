import json
import platform
import shutil

import numpy as np
import onnx
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import BUNDLED, load_bundle


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


def change(bundle, **keys):
    path = bundle / "model.json"
    content = json.loads(path.read_text())
    for key, value in keys.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    path.write_text(json.dumps(content))


def refusal(bundle):
    with pytest.raises(HtsatEdgeError) as caught:
        open_backend(load_bundle(bundle))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_bundle_opens(bundle):
    assert load_bundle(bundle).info.labels[3] == "class 3"
    open_backend(load_bundle(bundle)).close()


@pytest.mark.parametrize("key", ["name", "front_end", "frames", "steps", "step_s", "labels"])
def test_a_missing_key_is_named(bundle, key):
    change(bundle, **{key: None})
    assert refusal(bundle).endswith(f"model.json: {key}: key is missing")


def test_an_unknown_key_is_named_with_the_nearest(bundle):
    change(bundle, treshholds={})
    assert "treshholds: unknown key, meant thresholds?" in refusal(bundle)


def test_labels_must_fit_the_graph(bundle):
    change(bundle, labels=["a", "b"])
    assert "fp32.onnx: its framewise has the shape [32, 10] for a window, but by the frames, steps and 2 labels of" in (
        refusal(bundle)
    )
    assert "model.json it must be [32, 2]" in refusal(bundle)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"labels": ["a", "a"]}, "labels: listed twice: a"),
        ({"labels": ["a", "\x1b[31mb"]}, r"labels: '\x1b[31mb' is no name that can be printed"),
        ({"labels": ["a", " "]}, "labels: ' ' is no name that can be printed"),
        ({"name": "a\n"}, r"name: 'a\n' is no name that can be printed"),
        ({"thresholds": {"owl": 0.5}}, "owl: no such label"),
        ({"thresholds": {"class 1": 1.5}}, "1.5 is not between 0 and 1"),
        ({"median_steps": {"class 1": 2}}, "2 is not an odd number"),
        ({"frames": 0}, "frames: Input should be greater than 0, not 0"),
        ({"step_s": 1.0}, "32 steps of step_s 1 are 32 s, but a window of 1024 frames is 10.24 s"),
        ({"front_end": {"sample_rate": 10**12}}, "front_end.sample_rate: Input should be less than or equal"),
    ],
)
def test_an_inconsistent_model_is_refused(bundle, keys, message):
    change(bundle, **keys)
    assert message in refusal(bundle)


def test_files_that_are_missing_or_damaged(bundle, tmp_path):
    graph = (bundle / "fp32.onnx").read_bytes()
    (bundle / "fp32.onnx").write_bytes(graph[: len(graph) // 2])
    assert "onnxruntime cannot load it" in refusal(bundle)
    (bundle / "fp32.onnx").unlink()
    assert "has no fp32.onnx; precisions here: none" in refusal(bundle)
    (bundle / "model.json").write_text("[" * 100_000)
    assert "is not JSON" in refusal(bundle)
    (bundle / "model.json").write_text("{")
    assert "is not JSON" in refusal(bundle)
    (bundle / "model.json").unlink()
    assert "is not a bundle" in refusal(bundle)
    assert "no such bundle" in refusal(tmp_path / "absent")
    assert f"no such bundle; the one that ships is {BUNDLED}, which is used" in refusal(tmp_path / "bundled")
    assert "File name too long" in refusal(tmp_path / ("x" * 300))


def test_a_graph_of_something_else_is_refused(bundle):
    import onnx

    names = {"x": 1}
    value = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in [*names, "y"]]
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", value[:1], value[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, bundle / "fp32.onnx")
    assert "want the input log_mel and the outputs framewise, clipwise, embedding" in refusal(bundle)


def measure(bundle, recommended, **sha256):
    """Write what calibration/accuracy.py would."""
    there = load_bundle(bundle)
    graphs = {name: {"sha256": sha256.get(name) or there.sha256(name)} for name in there.precisions()}
    content = {"graphs": graphs, "recommended": {"onnxruntime": recommended}, "processor": platform.machine()}
    (bundle / "accuracy.json").write_text(json.dumps(content))
    return there


def test_the_graph_that_was_measured_to_be_best_is_used(bundle):
    shutil.copy(bundle / "fp32.onnx", bundle / "cpu-int8.onnx")
    assert load_bundle(bundle).recommended() == "fp32"
    there = measure(bundle, "cpu-int8")
    assert there.recommended() == "cpu-int8"
    measured = bundle / "accuracy.json"
    measured.write_text(measured.read_text().replace(platform.machine(), "another"))
    assert there.recommended() == "fp32"


@pytest.mark.parametrize("changed", ["fp32", "cpu-int8", None])
def test_a_measurement_of_other_files_counts_for_nothing(changed, bundle, caplog):
    shutil.copy(bundle / "fp32.onnx", bundle / "cpu-int8.onnx")
    there = measure(bundle, "cpu-int8", **({changed: "0" * 64} if changed else {}))
    if changed is None:
        (bundle / "cpu-int8.onnx").unlink()
    assert there.recommended() == "fp32"
    assert f"was measured with another {changed or 'cpu-int8'}.onnx; fp32 is used" in caplog.text
    open_backend(there).close()


@pytest.mark.parametrize("recommended", ["fp32", "cpu-fp32", "cpu-int8"])
def test_the_faster_graph_of_full_precision_is_used_unless_measured_otherwise(recommended, bundle, caplog):
    assert load_bundle(bundle).recommended() == "fp32"
    measure(bundle, "fp32")
    for name in ("cpu-fp32", "cpu-int8"):
        shutil.copy(bundle / "fp32.onnx", bundle / f"{name}.onnx")
    assert load_bundle(bundle).recommended() == "cpu-fp32"  # it was not there to be measured
    measure(bundle, recommended)
    assert load_bundle(bundle).recommended() == recommended
    if recommended == "cpu-int8":
        (bundle / "cpu-int8.onnx").unlink()
        assert load_bundle(bundle).recommended() == "cpu-fp32"
        assert "cpu-fp32 is used" in caplog.text


def test_an_old_onnxruntime_gets_the_graph_that_it_knows(bundle, caplog):
    model = onnx.load(bundle / "fp32.onnx")
    model.opset_import[0].version = 99
    onnx.save(model, bundle / "cpu-fp32.onnx")
    log_mel = np.full((1, 1024, 64), -40, np.float32)
    backend = open_backend(load_bundle(bundle))
    wanted = open_backend(load_bundle(bundle), "fp32").infer(log_mel)
    np.testing.assert_array_equal(backend.infer(log_mel).framewise, wanted.framewise)
    assert "cpu-fp32.onnx: onnxruntime cannot load it" in caplog.text
    assert "cpu-fp32.onnx is used" not in caplog.text
    assert "; fp32.onnx is used" in caplog.text
    with pytest.raises(HtsatEdgeError, match=r"cpu-fp32\.onnx: onnxruntime cannot load it"):
        open_backend(load_bundle(bundle), "cpu-fp32")


def test_where_the_8_bit_graph_cannot_be_loaded_the_next_best_is_used(bundle, caplog):
    shutil.copy(bundle / "fp32.onnx", bundle / "cpu-fp32.onnx")
    (bundle / "cpu-int8.onnx").write_bytes(b"no graph")
    there = measure(bundle, "cpu-int8")
    assert open_backend(there).name == "onnxruntime, cpu-fp32.onnx"
    (message,) = caplog.messages
    assert "cpu-int8.onnx: onnxruntime cannot load it" in message
    assert message.endswith("; cpu-fp32.onnx is used")


def regathered(bundle, column):
    """Have the graph take the columns of its scores by index, the last of them from `column`."""
    model = onnx.load(bundle / "fp32.onnx")
    node = next(node for node in model.graph.node if "framewise" in node.output)
    scores, columns = f"scores {column}", f"columns {column}"
    node.output[list(node.output).index("framewise")] = scores
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([*range(9), column]), columns))
    model.graph.node.append(onnx.helper.make_node("Gather", [scores, columns], ["framewise"], axis=2))
    onnx.save(model, bundle / "fp32.onnx")


def test_a_graph_that_loads_and_cannot_be_run_is_refused(bundle, capfd):
    regathered(bundle, 9)
    open_backend(load_bundle(bundle)).close()
    regathered(bundle, 99)
    assert "fp32.onnx: onnxruntime cannot run it: " in refusal(bundle)
    assert capfd.readouterr() == ("", "")


def test_a_graph_whose_weights_are_no_numbers_is_refused(bundle):
    model = onnx.load(bundle / "fp32.onnx")
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[0] = np.nan
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, bundle / "fp32.onnx")
    assert "fp32.onnx: gives scores that are no numbers; are its weights damaged?" in refusal(bundle)


@pytest.mark.parametrize("shape", [(1024, 64), (1, 1024, 63), (2, 1, 1024, 64)])
def test_what_is_no_window_is_refused(bundle, shape):
    with pytest.raises(ValueError, match=r"want log_mel of shape \(B, 1024, 64\), not \(\d"):
        open_backend(load_bundle(bundle)).infer(np.zeros(shape, np.float32))


def test_more_threads_than_a_machine_can_start_are_refused(bundle):
    with pytest.raises(HtsatEdgeError, match="100000 threads: this machine has "):
        open_backend(load_bundle(bundle), threads=100_000)


@pytest.mark.parametrize("threads", [1, 2, 3, None])
def test_several_windows_are_scored_as_each_alone(bundle, threads):
    log_mel = np.random.default_rng(0).normal(-40, 20, (5, 1024, 64)).astype(np.float32)
    backend = open_backend(load_bundle(bundle), threads=threads)
    scores = backend.infer(log_mel)
    for i, window in enumerate(log_mel):
        for name, found in backend.infer(window[None])._asdict().items():
            np.testing.assert_allclose(getattr(scores, name)[i], found[0], atol=1e-6)
    assert backend.infer(log_mel[:0]).framewise.shape == (0, 32, 10)


def test_a_damaged_measurement_is_refused(bundle):
    (bundle / "accuracy.json").write_text("{}")
    assert "accuracy.json: processor: key is missing" in refusal(bundle)
