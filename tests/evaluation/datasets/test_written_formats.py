"""What `scan` and `detect` write is read as labels: the same events, to a millisecond."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.runtime.archive.formats import FORMATS, FileEvents, TableEvent, TableFile

LABELS = (
    *("Dog", "Gunshot, gunfire", "Change ringing (campanology)", "Bird vocalization, bird call, bird song", "Whip!"),
    *('Bang "loud"', "Größe ß", "犬の声", "x/y", "it's 5 o'clock", "sub-bass #2", "A; B", "a|b", "[c]"),
)
LIBRARIES = {"parquet": "pyarrow", "textgrid": "praatio"}


@st.composite
def recordings(draw):
    """Recordings with events, no two of one class at once."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        events = []
        for label in draw(st.lists(st.sampled_from(LABELS), unique=True, max_size=3)):
            edges = draw(st.lists(st.integers(0, 20_000), min_size=2, max_size=6, unique=True).map(sorted))
            events += [
                (label, begin / 10_000, end / 10_000) for begin, end in zip(edges[::2], edges[1::2], strict=False)
            ]
        found.append((f"yard {number}.wav", sorted(events, key=lambda event: event[1:])))
    return found


def write(folder, name, found):
    """Write recordings, and what was found in them as `scan` does."""
    written = FORMATS[name]
    heard = []
    for file, events in found:
        path = folder / "yard" / file
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.full(2 * 8000, 0.1), 8000)
        rows = [TableEvent(str(path), 0, *event, 0.5, "2026-05-01T21:30:00.000") for event in events]
        heard.append(FileEvents(TableFile(str(path), 2.0, 8000, 1, events=len(rows)), rows))
    results = folder / "results"
    results.mkdir()
    if written.each:
        for one in heard:
            with (results / f"{Path(one.file.file).name}{written.file_name}").open("wb") as stream:
                written.write(stream, [one], False)
        return
    with (results / written.file_name).open("wb") as stream:
        written.write(stream, heard, False)
    files = FORMATS[name if written.write_files else "csv"]
    with (results / files.files_name).open("wb") as stream:
        files.write_files(stream, [one.file for one in heard])


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30, deadline=None)
@given(found=recordings())
def test_what_is_written_is_read(name, found):
    pytest.importorskip(LIBRARIES.get(name, "numpy"))
    if name in ("audacity", "jsonl"):  # files without a header: where all are empty, nobody knows what they are
        assume(any(events for _, events in found))
    if name == "desed":  # such a table may hold several classes in a cell
        assume(not any(re.search(r"[;|\[]", label) for _, events in found for label, *_ in events))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(folder, name, found)
        dataset = read_dataset([folder / "yard", folder / "results"])
        read = {one.path.name: one for one in dataset.recordings}
        assert read.keys() == {file for file, _ in found}
        for file, events in found:
            spans = sorted((one.label, one.onset_s, one.offset_s) for one in read[file].events)
            assert [label for label, *_ in spans] == [label for label, *_ in sorted(events)]
            times, wanted = ([event[1:] for event in one] for one in (spans, sorted(events)))
            np.testing.assert_allclose(np.array(times), np.array(wanted), atol=1e-3)
