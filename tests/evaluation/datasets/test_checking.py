"""What is left out of a set because it is damaged, and when that is refused."""

import numpy as np
import pytest
import soundfile

from htsat_edge.evaluation.datasets import Dataset
from htsat_edge.evaluation.datasets.checking import find_fault, leave_out_damaged, read_checked
from htsat_edge.evaluation.labels import Labelled, Occurrence
from htsat_edge.runtime.common.errors import HtsatEdgeError

RATE = 8000


def write(path, seconds=0.3, level=0.1):
    soundfile.write(path, np.random.default_rng(0).normal(0, level, round(seconds * RATE)), RATE)
    return path


def test_labels_may_be_rounded_beyond_the_end_but_not_lie_there(tmp_path):
    path = write(tmp_path / "a.wav", 2)
    assert find_fault(Labelled(path, frozenset(["Dog"]), (Occurrence(1, 2.4, "Dog"),))) is None
    for onset, offset in ((1, 2.6), (2, 2.1)):
        reason, first = find_fault(Labelled(path, frozenset(["Dog"]), (Occurrence(onset, offset, "Dog"),)))
        assert reason == "labelled beyond the end"
        assert first == f"{path}: lasts 2.000 s, but its labels have Dog from {onset} to {offset} s"


def test_silence_is_a_fault_only_where_something_is_said_to_sound(tmp_path):
    path = write(tmp_path / "a.wav", 1, 0)
    reason, first = find_fault(Labelled(path, frozenset(["Dog"])))
    assert (reason, first) == ("silent", f"{path}: is silent where its label is Dog")
    assert find_fault(Labelled(path)) is None
    assert find_fault(Labelled(path, frozenset(), ())) == ("silent background", str(path))
    assert leave_out_damaged(Dataset([Labelled(path, frozenset(), ())])).left_out == {"silent background": 1}
    _, first = find_fault(Labelled(write(tmp_path / "b.wav"), frozenset(), (), backgrounds_s=((0, 0.1), (0.3, 0.9))))
    assert first.endswith("b.wav: lasts 0.300 s, but its labels have background from 0.3 to 0.9 s")


def test_an_event_in_silence_is_found_across_blocks(tmp_path):
    samples = np.full(25 * RATE, 0.1)
    samples[9 * RATE : 12 * RATE] = 0
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    fine = tuple(Occurrence(*span, "Dog") for span in ((0, 9.1), (8, 13), (11.9, 12.1), (20.5, 25.2)))
    assert find_fault(Labelled(tmp_path / "a.wav", frozenset(["Dog"]), fine)) is None
    silent = (*fine, Occurrence(9.5, 11, "Dog"))
    _, first = find_fault(Labelled(tmp_path / "a.wav", frozenset(["Dog"]), silent))
    assert first.endswith("a.wav: is silent where its labels have Dog from 9.5 to 11 s")


def test_a_few_are_left_out_and_counted(tmp_path, capsys):
    (tmp_path / "Dog").mkdir()
    for i in range(40):
        write(tmp_path / "Dog" / f"{i:02}.wav")
    (tmp_path / "Dog" / "03.wav").write_bytes(b"RIFF, but broken")
    (tmp_path / "Dog" / "07.wav").write_bytes(b"")
    write(tmp_path / "Dog" / "09.wav", level=0)
    found = read_checked([tmp_path])
    assert len(found.recordings) == 37
    assert found.left_out == {"not decodable": 2, "silent": 1}
    line, undecodable, silent = capsys.readouterr().out.splitlines()
    assert line == f"{tmp_path}: 37 recordings, 1 class (Dog); no splits; left out: 2 not decodable, 1 silent"
    assert undecodable.startswith(f"  not decodable, the first: {tmp_path}/Dog/03.wav: ")
    assert silent == f"  silent, the first: {tmp_path}/Dog/09.wav: is silent where its label is Dog"


def test_many_are_refused(tmp_path):
    recordings = [Labelled(write(tmp_path / f"{i}.wav"), frozenset(["Dog"])) for i in range(10)]
    recordings[4].path.write_bytes(b"")
    assert len(leave_out_damaged(Dataset(recordings)).recordings) == 9
    recordings[6].path.write_bytes(b"")
    with pytest.raises(
        HtsatEdgeError, match=r"2 of 10 recordings are not decodable, the first: .*4\.wav: is empty"
    ) as e:
        leave_out_damaged(Dataset(recordings))
    assert "\n" not in str(e.value)


def test_one_that_breaks_off_is_not_decodable(tmp_path):
    path = write(tmp_path / "a.flac", 3)
    path.write_bytes(path.read_bytes()[:-4000])
    assert find_fault(Labelled(path)).reason == "not decodable"
