import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.store.connect import StoreError

AT = 1_777_663_800.0
STEP_S = 0.32


def ramp(first, count):
    """Scores of three classes that tell their step."""
    return np.stack([np.full(count, 0.5), np.zeros(count), np.arange(first, first + count) / 10_000 + 0.1], axis=1)


@pytest.fixture
def minutes(filler):
    """Ten rows of 100 steps without a gap, then one after a gap, and the same of another source."""
    filler.setup()
    filler.setup(source="pond")
    for row in range(10):
        filler.scores(row * 100 * STEP_S, ramp(row * 100, 100))
    filler.scores(1000 * STEP_S + 5, ramp(1000, 50))
    filler.scores(0.0, ramp(5000, 100), source="pond")
    return filler


def test_rows_without_a_gap_are_one_run(minutes, reader):
    first, second = reader.score_runs("yard", AT, AT + 1000)
    assert (first.onset, first.at, first.scores.shape, first.session) == (0.0, AT, (1000, 3), 1)
    np.testing.assert_allclose(first.scores, ramp(0, 1000), atol=0.0065)
    assert (second.onset, second.scores.shape) == (pytest.approx(325.0), (50, 3))
    assert second.at == pytest.approx(AT + 325, abs=0.001)
    assert first.end_at == pytest.approx(AT + 320)
    assert first.setup.labels == ["Animal", "Bird", "Dog"]


def test_only_the_minutes_that_overlap(minutes, reader):
    (run,) = reader.score_runs("yard", AT + 32.1, AT + 63.9)
    assert (run.onset, len(run.scores)) == (32.0, 100)
    assert [run.onset for run in reader.score_runs("yard", AT + 32, AT + 64)] == [32.0]
    (run,) = reader.score_runs("yard", AT + 31.9, AT + 64.1)
    assert (run.onset, len(run.scores)) == (0.0, 300)
    assert reader.score_runs("yard", AT + 320.1, AT + 324.9) == []
    assert reader.score_runs("wood", AT, AT + 10) == []


def test_a_run_is_cut_to_the_steps_that_overlap(minutes, reader):
    (run,) = reader.score_runs("yard", AT, AT + 320)
    part = run.cut(AT + 3.3, AT + 6.4)
    assert (part.onset, part.at, len(part.scores)) == (pytest.approx(3.2), pytest.approx(AT + 3.2), 10)
    np.testing.assert_array_equal(part.scores, run.scores[10:20])
    assert len(run.cut(AT - 10, AT - 5).scores) == len(run.cut(AT + 400, AT + 500).scores) == 0
    assert len(run.cut(AT - 10, AT + 1000).scores) == 1000


def test_sessions_are_not_joined_and_have_their_setup(filler, reader):
    filler.setup()
    other = filler.setup.__defaults__[0].model_copy(update={"thresholds": [0.9, 0.9, 0.9]})
    filler.setup(other, uid="two")
    filler.scores(0.0, ramp(0, 10))
    filler.scores(10 * STEP_S, ramp(10, 10), uid="two")
    first, second = reader.score_runs("yard", AT, AT + 10)
    assert (first.session, second.session) == (1, 2)
    assert (first.setup.thresholds[0], second.setup.thresholds[0]) == (0.5, 0.9)


def test_the_same_row_again_changes_nothing(filler, reader):
    filler.setup()
    for score in (0.5, 0.9):
        filler.scores(0.0, np.full((10, 3), score))
    (run,) = reader.score_runs("yard", AT, AT + 10)
    np.testing.assert_allclose(run.scores, 0.5, atol=0.006)


def test_a_row_without_a_time_ended_when_it_was_stored(filler, reader):
    filler.setup()
    filler.scores(0.0, ramp(0, 100), timed=False)
    (run,) = reader.score_runs("yard", AT, AT + 10)
    assert run.at == pytest.approx(AT)


def test_spans_of_years_are_refused(reader):
    with pytest.raises(HtsatEdgeError, match="scores of 8760 h are too many at once; ask for a day at most"):
        reader.score_runs("yard", AT, AT + 365 * 86_400)


def test_scores_without_a_setup_are_damage(filler, reader):
    filler.scores(0.0, ramp(0, 10))
    with pytest.raises(StoreError, match="there are scores of yard, but no setup"):
        reader.score_runs("yard", AT, AT + 10)


def test_the_setup_in_force(filler, reader):
    """That of the last session before a time; before all, the first."""
    setup = filler.setup.__defaults__[0]
    with filler.database:
        for number, at in enumerate((AT, AT + 100, AT + 200)):
            filler.database.session(f"session {number}", at)
    for number in (0, 2):
        filler.setup(setup.model_copy(update={"model": f"model {number}"}), uid=f"session {number}")
    found = [reader.setup("yard", AT + after).model for after in (-50, 0, 150, 199, 200, 999)]
    assert found == ["model 0"] * 4 + ["model 2"] * 2
    assert reader.setup("pond", AT) is None


@pytest.fixture
def retuned(filler):
    """Thresholds that change twice within a session, and back; each part has ten rows of ten steps."""
    setup = filler.setup.__defaults__[0]
    others = [setup.model_copy(update={"thresholds": [x, x, x]}) for x in (0.6, 0.7)]
    for k, one in enumerate((setup, others[0], setup, others[1])):
        filler.setup(one, onset=round(100 * k * STEP_S, 4))
    filler.setup(source="pond")
    for row in range(40):
        filler.scores(round(row * 10 * STEP_S, 4), ramp(row * 10, 10))
    return filler


def test_a_run_ends_where_the_setup_changes(retuned, reader):
    """Since there the hysteresis began anew, also where it is the setup of before."""
    runs = reader.score_runs("yard", AT, AT + 1000)
    assert [run.onset for run in runs] == pytest.approx([0, 32, 64, 96])
    assert [len(run.scores) for run in runs] == [100] * 4
    assert [run.setup.thresholds[0] for run in runs] == [0.5, 0.6, 0.5, 0.7]
    np.testing.assert_allclose(np.concatenate([run.scores for run in runs]), ramp(0, 400), atol=0.0065)
    assert runs[0].end_at == pytest.approx(runs[1].at, abs=0.001)
    (run,) = reader.score_runs("yard", AT + 40, AT + 41)
    assert run.setup.thresholds[0] == 0.6


def test_the_setup_that_was_in_force_within_a_session(retuned, reader):
    found = [reader.setup("yard", AT + after).thresholds[0] for after in (-5, 0, 31.9, 32.1, 63.9, 64.1, 96.1, 1e6)]
    assert found == [0.5, 0.5, 0.5, 0.6, 0.6, 0.5, 0.7, 0.7]
    assert [source.setup.thresholds[0] for source in reader.sources()] == [0.5, 0.7]


def test_without_scores_events_tell_which_setup_was_in_force(filler, reader):
    setup = filler.setup.__defaults__[0]
    for onset, threshold in ((0.0, 0.5), (50.0, 0.6)):
        filler.setup(setup.model_copy(update={"thresholds": [threshold] * 3}), onset=onset)
    assert reader.setup("yard", AT + 10).thresholds[0] == 0.6  # nothing tells when that was
    filler.event("Bird", 20.0, 22.0)
    assert [reader.setup("yard", AT + after).thresholds[0] for after in (10, 40, 60)] == [0.5, 0.5, 0.6]


def test_scores_from_before_the_first_setup_that_is_known_have_that(filler, reader):
    """A database that was begun anew while rows of scores waited."""
    filler.setup(onset=50.0)
    filler.scores(0.0, ramp(0, 10))
    (run,) = reader.score_runs("yard", AT, AT + 10)
    assert run.setup.labels == ["Animal", "Bird", "Dog"]
