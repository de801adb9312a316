import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.archive.spans import ScorePacker, count_steps, take_turns, unpack, write_scores

RELEASE = np.array([0.3, 0.5, np.inf], np.float32)


def pack(turns, first=0, last=None, begin=0, every=2, keep_all=False):
    packer = ScorePacker(RELEASE, begin, first, last, keep_all)
    for number, rows in enumerate(turns):
        packer.add(rows, is_turn=number < len(turns) - 1)
        if number % every == 0:
            packer.pack()
    return packer.finish()


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 5), st.lists(st.integers(0, 40), max_size=4)
)
def test_spans_give_back_scores_above_the_release_in_their_turns(sizes, every, borders):
    rng = np.random.default_rng(sum(sizes))
    turns = [rng.random((size, 3), np.float32) for size in sizes]
    whole = np.concatenate(turns)
    edges = [0, *sorted(borders), None]
    spans = [pack(turns, first, last, every=every) for first, last in itertools.pairwise(edges)]
    found = list(take_turns((block for span in spans for block in unpack(span, 3)), 3))
    wanted = [np.where(rows >= RELEASE, rows, 0) for rows in turns]
    assert [is_rest for _, is_rest in found] == [False] * (len(found) - 1) + [True]
    some = [rows for rows in wanted[:-1] if len(rows)]
    assert len(found) == len(some) + 1
    for (rows, _), want in zip(found, [*some, wanted[-1]], strict=True):
        np.testing.assert_array_equal(rows, want)
    assert sum(map(count_steps, spans)) == len(whole)


def test_lower_scores_are_cut_off_to_half_precision_and_stay_low():
    scores = np.random.default_rng(0).random((50, 3), np.float32)
    scores[0, 1] = np.nextafter(np.float32(0.5), np.float32(0))
    (block,) = unpack(pack([scores], keep_all=True), 3)
    high = scores >= RELEASE
    np.testing.assert_array_equal(block.scores[high], scores[high])
    assert (block.scores[~high] <= scores[~high]).all()
    assert (block.scores < RELEASE)[~high].all()
    np.testing.assert_allclose(block.scores, scores, rtol=2**-10)


def test_scores_are_written_span_after_span_and_always_the_same(tmp_path):
    scores = np.random.default_rng(0).random((50, 3), np.float32)
    packed = [pack([scores], 0, 20, keep_all=True), pack([scores], 20, None, keep_all=True)]
    for name in ("a.npz", "b.npz"):
        write_scores(tmp_path / name, {"scores": packed}, ["x", "y", "z"], 0.32)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz") as found:
        assert found["scores"].dtype == np.float16
        np.testing.assert_allclose(found["scores"], scores, rtol=2**-9)
        assert found["labels"].tolist() == ["x", "y", "z"]
        assert (found["step_s"], found["onset"]) == (0.32, 0)
