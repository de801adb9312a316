"""Praat's TextGrids."""

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError

pytest.importorskip("praatio")


def test_textgrids_beside_recordings(layouts, tmp_path):
    found = read_dataset([layouts.textgrid(tmp_path)])
    assert (found.name, found.left_out) == ("textgrid", {"no label": 1})
    robin, dog = Occurrence(0.1, 0.3, "Robin"), Occurrence(0.2, 0.5, 'Dog "Rex" barks')
    assert found.recordings == [
        Labelled(tmp_path / "a.wav", frozenset(["Robin", 'Dog "Rex" barks']), (robin, dog)),
        Labelled(tmp_path / "field" / "b.wav", frozenset(), ()),
    ]


def praats(folder, form, *, points=False):
    """Let Praat itself write a TextGrid."""
    call = pytest.importorskip("parselmouth.praat").call
    grid = call("Create TextGrid", 0, 0.5, "birds points", "points")
    if points:
        call(grid, "Insert point", 2, 0.25, "Säge – 鳥")
    else:
        call(grid, "Insert boundary", 1, 0.125)
        call(grid, "Insert boundary", 1, 0.375)
        call(grid, "Set interval text", 1, 2, "Säge – 鳥")
    call(grid, f"Save as {form} file", str(folder / "a.TextGrid"))


@pytest.mark.parametrize("form", ["text", "short text"])
def test_what_praat_writes(layouts, tmp_path, form):
    layouts.record(tmp_path / "a.wav")
    praats(tmp_path, form)
    assert [r.events for r in read_dataset([tmp_path]).recordings] == [(Occurrence(0.125, 0.375, "Säge – 鳥"),)]


def test_points_say_what_but_not_when(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    praats(tmp_path, "text", points=True)
    (found,) = read_dataset([tmp_path]).recordings
    assert (found.labels, found.events) == ({"Säge – 鳥"}, None)


def test_what_is_no_text_is_refused(layouts, tmp_path):
    layouts.record(tmp_path / "a.wav")
    praats(tmp_path, "binary")
    with pytest.raises(HtsatEdgeError, match=r"a\.TextGrid: is no TextGrid that Praat saved as text: ") as caught:
        read_dataset([tmp_path])
    assert "\n" not in str(caught.value)
    with pytest.raises(HtsatEdgeError, match=r"want TextGrids of Praat beside the recordings, such as dog.TextGrid"):
        read_dataset([tmp_path / "a.wav"], "textgrid")


def test_a_grid_in_a_folder_of_its_own(layouts, tmp_path):
    for site in ("north", "south"):
        layouts.record(tmp_path / "recordings" / site / "a.wav")
    grid = layouts.write(tmp_path / "labels" / "south" / "a.wav.TextGrid", layouts.TEXTGRID)
    (found,) = read_dataset([tmp_path / "labels", tmp_path / "recordings"]).recordings
    assert found.path.parent.name == "south"
    layouts.write(tmp_path / "recordings" / "south" / "a.TextGrid", layouts.TEXTGRID)
    with pytest.raises(HtsatEdgeError, match=r"a\.wav\.TextGrid has labels of .*a\.wav, and so has .*a\.TextGrid; lea"):
        read_dataset([tmp_path / "labels", tmp_path / "recordings"])
    assert grid.is_file()


@pytest.mark.parametrize("begin", ["-1", "nan"])
def test_times_before_the_recording(layouts, tmp_path, begin):
    layouts.record(tmp_path / "a.wav")
    text = layouts.TEXTGRID.replace('0\n0.1\n""\n0.1\n0.3', f'-2\n-1\n""\n{begin}\n0.3')
    layouts.write(tmp_path / "a.TextGrid", text)
    with pytest.raises(
        HtsatEdgeError, match=rf"a\.TextGrid: tier 1, label 2 has onset '{begin}[.0]*' and offset '0.3'"
    ):
        read_dataset([tmp_path])
