import json
import shutil

import pytest

from htsat_edge.evaluation.budget import Accuracy, Budget
from htsat_edge.evaluation.comparison import Measured
from htsat_edge.evaluation.metrics import Interval
from htsat_edge.htsat.card import MANIFEST, TEMPLATE, card, licences, main
from htsat_edge.htsat.report import NAMES, ClassFigures, Results
from htsat_edge.htsat.settings import RunFolder
from htsat_edge.runtime.models.bundle import load_bundle
from htsat_edge.runtime.models.levels import ClassLevels, LevelThreshold, SensitivityLevels


@pytest.fixture
def results():
    figures = {name: Interval(value=0.5, low=0.4, high=0.6) for name in NAMES}
    unknown = {name: Interval(value=None, low=None, high=None) for name in NAMES}
    dog = ClassFigures(label="Dog", recordings=4, groups=2, threshold=0.45, median_steps=3, figures=figures)
    owl = ClassFigures(label="Owl", recordings=0, groups=0, threshold=0.5, median_steps=1, figures=unknown)
    return Results(
        figures=figures,
        psds1=0.1,
        psds2=0.2,
        rises_in_noise={"Dog": 1, "Owl": 0},
        rises_in_ambience={"Dog": 2, "Owl": 7},
        classes=[dog, owl],
        confusion=[[3, 1], [0, 0]],
    )


@pytest.fixture
def accuracy(tiny_bundle):
    def measured(snr_db, event_f1):
        return Measured(
            sha256=load_bundle(tiny_bundle).sha256("fp32"),
            size=2_000_000,
            clip_ms=5,
            logit_snr_db=snr_db,
            worst_clip=None,
            events=7,
            events_lost=1,
            events_gained=2,
            false_events_per_hour=3,
            figures={"event_f1": event_f1},
            changes={"event_f1": Interval(value=event_f1 - 0.4, low=-0.1, high=0.1)},
            class_figures={"Dog": {"event_f1": event_f1}},
        )

    return Accuracy(
        material="manifest.csv",
        recordings=120,
        hours=1,
        labels_say="when",
        processor="",
        budget=Budget(),
        versions={},
        graphs={"fp32": measured(None, 0.4), "int8": measured(41.5, 0.38)},
        recommended={"onnxruntime": "fp32"},
    )


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "corpus.csv"
    path.write_text(
        "file,package,version,class,split,licence,attribution\n"
        "1.flac,dogs,1.2,Dog,train,CC0,A. Author\n2.flac,dogs,1.2,Dog,train,GPL-2,B. Author\n"
        "3.flac,owls,3,Owl,val,CC0,C. Author\n"
    )
    return path


def test_the_card_has_the_figures(results, accuracy, manifest, tmp_path):
    synthetic = tmp_path / "synthetic.csv"
    synthetic.write_text("file,class,split\na.flac,Siren,train\na.flac,Siren,train\nb.flac,Siren,val\n")
    few, balanced, little = (
        LevelThreshold(threshold=threshold, false_alarms_per_h=rate, at_most_per_h=rate + 1.15)
        for threshold, rate in ((0.8, 0), (0.61, 0.5), (0.3, 2.25))
    )
    owl = ClassLevels(few_false_alarms=few, balanced=few, miss_little=little)
    dog = ClassLevels(few_false_alarms=few, balanced=balanced, miss_little=balanced)
    levels = SensitivityLevels(material="a yard", hours=2, classes={"Dog": dog, "Owl": owl})
    text = card(
        "{train} {held} {packages} {judged} {synthetic} {synthetic_held}\n{figures}\n{classes}\n{confused}\n"
        "{scenes}\n{levels}\n{quantised}\n{ambience}; {errors}",
        results,
        accuracy,
        [manifest, synthetic],
        {"Dog": 0.61, "Owl": 0.5},
        levels,
    )
    assert text.startswith("2 1 2 4 2 1\n")
    assert "| F1 of 1 s segments of scenes | 0.50 (0.40–0.60) |" in text
    assert "| rises over a threshold in an hour of stationary noise | 1 |" in text
    assert "| the same with recorded backgrounds over it | 9 |" in text
    assert "120 scenes, 60 minutes" in text
    assert "Background: 2.0 h of a yard." in text
    assert "Classes with a stricter threshold than balanced: 1 of 2; with one that misses less: 1." in text
    assert "| Dog | 0.8: 0 (1.15) | 0.61: 0.5 (1.65) | = |" in text
    assert "| Owl | = | 0.8: 0 (1.15) | 0.3: 2.25 (3.4) |" in text
    assert "| event F1 | 0.400 | 0.380  -2.0 (-10.0 … +10.0) |" in text
    assert text.endswith("Owl 7, Dog 2; 1")
    cells = " | ".join(["0.50 (0.40–0.60)"] * 5)
    assert f"| Dog | 2 | 4 | 2 | {cells} | 0.61 |" in text
    assert "| Owl | 0 | 0 | 0 | – | – | – | – | – | 0.50 |" in text
    assert "| Dog | Owl | 1 |" in text


def test_licences_name_every_package_and_its_authors(manifest):
    text = licences(manifest)
    assert "| dogs | 1.2 | 2 | CC0 (1), GPL-2 (1) | A. Author; B. Author |" in text
    assert "| owls | 3 | 1 | CC0 | C. Author |" in text


@pytest.fixture
def run(results, tiny_checkpoint, tmp_path):
    """A measured training."""
    folder = RunFolder(tmp_path)
    folder.figures.write_text(results.model_dump_json())
    shutil.copy(tiny_checkpoint, folder.model)
    shutil.copy(MANIFEST, tmp_path / "manifest.csv")
    return folder


@pytest.fixture
def bundle(results, accuracy, tiny_bundle, tmp_path):
    """Its bundle."""
    shutil.copytree(tiny_bundle, tmp_path / "bundle")
    shutil.copy(tmp_path / "bundle" / "fp32.onnx", tmp_path / "bundle" / "int8.onnx")
    path = tmp_path / "bundle" / "model.json"
    info = json.loads(path.read_text())
    info["thresholds"] = {c.label: c.threshold for c in results.classes}
    info["labels"][:2] = info["thresholds"]
    path.write_text(json.dumps(info))
    (path.parent / "accuracy.json").write_text(accuracy.model_dump_json())
    return path.parent


def write_card(run, bundle):
    return main([str(run.path), "--data", str(run.path), "--out", str(bundle)])


def test_the_command_fills_the_shipped_template(run, bundle):
    assert write_card(run, bundle) == 0
    text = (bundle / "MODEL_CARD.md").read_text()
    assert "{" not in text
    assert "| Dog | 16 | 4 | 2 |" in text  # as configs/corpus.csv says
    assert len((bundle / "LICENCES.md").read_text().splitlines()) > 40


def test_bad_input_is_one_line(run, bundle, tmp_path, capsys, monkeypatch):
    assert write_card(RunFolder(tmp_path / "absent"), bundle) == 2
    assert "figures.json: no such file" in capsys.readouterr().err
    assert write_card(run, tmp_path / "none") == 2
    assert "none: no such bundle" in capsys.readouterr().err
    template = tmp_path / "card.md"
    template.write_text("{figurs}")
    monkeypatch.setattr("htsat_edge.htsat.card.TEMPLATE", template)
    assert write_card(run, bundle) == 2
    assert "unknown placeholder: 'figurs'" in capsys.readouterr().err


def test_another_model_than_was_measured_gets_no_card(run, bundle, capsys):
    info = bundle / "model.json"
    before = info.read_text()
    info.write_text(json.dumps(json.loads(before) | {"thresholds": {}}))
    assert write_card(run, bundle) == 2
    assert "has not the thresholds of" in capsys.readouterr().err
    info.write_text(before)
    measured = bundle / "accuracy.json"
    measured.write_text(measured.read_text().replace('{"sha256":"', '{"sha256":"0'))
    assert write_card(run, bundle) == 2
    assert "accuracy.json: is of another fp32.onnx" in capsys.readouterr().err
    run.model.write_bytes(b"others")
    assert write_card(run, bundle) == 2
    assert f"holds other weights than {run.path}, which was evaluated" in capsys.readouterr().err
    assert not (bundle / "MODEL_CARD.md").exists()


def test_the_template_says_what_a_card_must():
    text = TEMPLATE.read_text()
    for heading in ("## Figures", "## What eight bits cost", "## Confusion", "## Limits", "## Use"):
        assert heading in text
