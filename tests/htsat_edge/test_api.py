"""The public face: what a program gets from `import htsat_edge`, and that docs/api.md is true."""

import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile

import htsat_edge
from htsat_edge import (
    Bundle,
    Detector,
    EventEnd,
    EventStart,
    HtsatEdgeError,
    Settings,
    detect_file,
    load_bundle,
    open_backend,
)

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
FOUND = [
    ("Speech", 1.28, 5.12),
    ("Dog", 8.32, 8.96),
    ("Cattle, bovinae", 10.88, 12.48),
    ("Thunder", 14.08, 17.92),
    ("Fowl", 18.56, 21.76),
]


@pytest.fixture(scope="module")
def wanted(farmyard):
    """What is in the recording by default."""
    return detect_file(farmyard)


def spans(events):
    return [(event.label, event.onset, event.offset) for event in events if isinstance(event, EventEnd)]


def python(code, folder):
    """What a program prints that is run in a folder of its own."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Names


@pytest.mark.parametrize("name", htsat_edge.__all__)
def test_every_name_is_there(name):
    assert getattr(htsat_edge, name).__name__ == name
    assert name in dir(htsat_edge)


def test_names_are_listed_once_and_explained():
    assert len(set(htsat_edge.__all__)) == len(htsat_edge.__all__) <= 15
    assert set(htsat_edge.__all__) == {name for names in htsat_edge.HOMES.values() for name in names}
    assert all(getattr(htsat_edge, name).__doc__ for name in htsat_edge.__all__)


def test_every_name_is_in_the_documentation():
    named = set(re.findall(r"^\| (.+?) \|", DOCS.read_text(), re.MULTILINE)) - {"name", "---"}
    assert {name for cell in named for name in re.findall(r"`(\w+)`", cell)} == set(htsat_edge.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'htsat_edge' has no attribute 'Detektor'"):
        htsat_edge.Detektor  # noqa: B018


def test_it_knows_its_version():
    assert htsat_edge.__version__ == version("htsat-edge")


def test_it_is_typed():
    assert (Path(htsat_edge.__file__).parent / "py.typed").is_file()


def test_importing_it_loads_no_library(tmp_path):
    code = (
        "import sys, htsat_edge; print([n for n in ('numpy', 'onnxruntime', 'pydantic', 'scipy') if n in sys.modules])"
    )
    assert python(code, tmp_path) == "[]\n"


def test_importing_it_brings_one_top_level_name(tmp_path):
    code = """
import sys
before = set(sys.modules)
import htsat_edge
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""
    assert python(code, tmp_path) == "['htsat_edge']\n"


def test_using_it_brings_no_other_name_of_ours(tmp_path):
    """A folder may have a `runtime` and an `export` of its own."""
    for name in ("runtime", "export", "configs", "calibration", "evaluation", "htsat"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    code = (
        "import sys, htsat_edge; htsat_edge.load_bundle; print('runtime' in sys.modules, htsat_edge.Settings().release)"
    )
    assert python(code, tmp_path) == "False 0.6\n"


# Detection


def test_the_events_of_a_recording(farmyard, wanted):
    found = wanted
    assert spans(found) == FOUND
    assert {event.source for event in found} == {str(farmyard)}
    assert {event.time for event in found} == {None}
    assert sorted(event.id for event in found) == [1, 2, 3, 4, 5]


def test_settings_choose(farmyard):
    """Only some classes; and a higher threshold finds less, and less of it."""
    some = ("Dog", "Thunder")
    wanted = [span for span in FOUND if span[0] in some]
    assert spans(detect_file(str(farmyard), settings=Settings(labels=some))) == wanted
    low, high = (spans(detect_file(farmyard, settings=Settings(labels=some, threshold=t))) for t in (0.3, 0.9))
    assert all(any(label == of and a <= onset and offset <= b for of, a, b in low) for label, onset, offset in high)
    assert 0 < sum(offset - onset for _, onset, offset in high) < sum(offset - onset for _, onset, offset in low)


def test_a_bundle_may_be_a_path_or_an_object(tiny_bundle, farmyard):
    rare = Settings(hop_s=1.28)
    by_path = detect_file(farmyard, bundle=str(tiny_bundle), settings=rare)
    bundle = load_bundle(tiny_bundle)
    assert isinstance(bundle, Bundle)
    assert by_path == detect_file(farmyard, bundle=tiny_bundle, settings=rare)
    assert by_path == detect_file(farmyard, bundle=bundle, settings=rare)
    assert {event.label for event in by_path} <= set(bundle.info.labels)


@pytest.mark.parametrize("chunk", [777, 32_000, 10**7])
def test_a_stream_gives_the_same_for_any_chunking(chunk, farmyard, wanted):
    samples, sample_rate = soundfile.read(farmyard, dtype="float32")
    with Detector.from_bundle(sample_rate=sample_rate, source=str(farmyard), threads=1) as detector:
        events = [e for i in range(0, len(samples), chunk) for e in detector.push(samples[i : i + chunk])]
        assert detector.duration_s == len(samples) / sample_rate
        events += detector.flush()
    ends = sorted((event for event in events if isinstance(event, EventEnd)), key=lambda event: event.onset)
    assert spans(ends) == spans(wanted) == FOUND
    assert [event.id for event in ends] == [event.id for event in wanted]
    assert [event.score for event in ends] == pytest.approx([event.score for event in wanted], abs=1e-4)
    assert [event.id for event in events if isinstance(event, EventStart)] == [1, 2, 3, 4, 5]


def test_a_backend_is_two_verbs(tiny_bundle):
    bundle = load_bundle(tiny_bundle)
    backend = open_backend(bundle)
    scores = backend.infer(np.full((2, bundle.info.frames, 64), -60, np.float32))
    backend.close()
    assert scores.framewise.shape == (2, bundle.info.steps, 10)
    assert scores.clipwise.shape == (2, 10)


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "missing.flac"}, "missing.flac: no such file"),
        ({"path": "."}, ".: is a directory, want a recording"),
        ({"path": "text.wav"}, "text.wav: is no recording that can be read: Format not recognised"),
        ({"path": "short.wav"}, "short.wav: 3.1 ms are too short for the model"),
        ({"bundle": "nowhere"}, "nowhere: no such bundle; "),
        ({"bundle": "."}, ".: is not a bundle: it has no model.json"),
        ({"settings": Settings(hop_s=99)}, "hop of 99 s: want between 0.08 and 10.24 s"),
        ({"settings": Settings(labels=("Dgo",))}, "labels: 'Dgo' is no class of this model, meant Dog?"),
        ({"settings": Settings(threshold=2)}, "threshold: 2 is not above 0 and at most 1"),
    ],
)
def test_an_error_is_one_line(options, message, farmyard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.wav").write_text("This is no recording.")
    soundfile.write("short.wav", np.zeros(100), 32_000)
    with pytest.raises(HtsatEdgeError) as raised:
        detect_file(**{"path": farmyard, **options})
    assert str(raised.value).startswith(message)
    assert len(str(raised.value).splitlines()) == 1


def test_a_bundle_without_a_graph_is_refused(tiny_bundle, tmp_path):
    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny")
    (bundle / "fp32.onnx").unlink()
    with pytest.raises(HtsatEdgeError, match=r"has no fp32\.onnx"):
        Detector.from_bundle(bundle, sample_rate=32_000)


# Documentation


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs(number, farmyard, tmp_path, monkeypatch, capsys):
    shutil.copy(farmyard, tmp_path / "yard.flac")
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"{DOCS.name}, example {number + 1}", "exec"), {"__name__": "__main__"})
    out, err = capsys.readouterr()
    assert out
    assert not err


def test_there_are_examples():
    assert len(BLOCKS) >= 4


def test_the_example_of_the_module_runs(farmyard, tmp_path, monkeypatch, capsys):
    shutil.copy(farmyard, tmp_path / "yard.flac")
    monkeypatch.chdir(tmp_path)
    lines = [line[4:] for line in htsat_edge.__doc__.splitlines() if line.startswith((">>> ", "... "))]
    exec("\n".join(lines), {})
    assert capsys.readouterr().out.startswith("Speech 1.28 5.12 0.99")
