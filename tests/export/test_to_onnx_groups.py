"""The thresholds that an exported bundle gets from the groups of its labels."""

import pytest

from htsat_edge.export.to_onnx import main
from htsat_edge.runtime.models.bundle import load_bundle

AUDIOSET = ["Speech", "Conversation", "Dog", "Bark", "Rain", "Whistle", "Wind", "Cat", "Purr", "Frog"]


@pytest.mark.parametrize(
    ("labels", "options", "thresholds", "line"),
    [
        (
            AUDIOSET,
            [],
            {"Speech": 0.6, "Bark": 0.4, "Rain": 0.5},
            "0.4 to 0.6, those of their groups (a judgement, not measured), for 9 of 10 classes; 0.5 for the rest",
        ),
        (AUDIOSET, ["--groups", "none"], {}, "0.5 for all 10 classes; --thresholds or --groups gives others"),
        ([*AUDIOSET[:9], "Our doorbell"], [], {}, "0.5 for all 10 classes; --thresholds or --groups gives others"),
        (
            [*AUDIOSET[:9], "Our doorbell"],
            ["--groups", "OWN"],
            {"Our doorbell": 0.7, "Cat": 0.7},
            "0.7, those of their groups (a judgement, not measured), for 2 of 10 classes; 0.5 for the rest",
        ),
    ],
)
def test_thresholds_by_group(labels, options, thresholds, line, capsys, arguments, tmp_path):
    own, arguments["--labels"] = tmp_path / "own.yaml", tmp_path / "labels.csv"
    own.write_text("Home: {threshold: 0.7, labels: [Our doorbell, Cat]}\nRest: [Rain]\n")
    arguments["--labels"].write_text("".join(f"{label}\n" for label in ["label", *labels]))
    checkpoint, *rest = arguments.items()
    given = [str(x) for option in rest for x in option] + [str(own) if x == "OWN" else x for x in options]
    assert main([str(checkpoint[1]), "--no-cpu", *given]) == 0
    assert f"thresholds: {line}\n" in capsys.readouterr().out
    found = load_bundle(arguments["--out"]).info.thresholds
    assert {label: found.get(label) for label in thresholds} == thresholds
    assert found or not thresholds
