"""The streams of a server, with scores that are a function of the sound's level: quick, and real events."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from htsat_edge.export.triton_models.streams import ServedStreams, StreamBlock
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.detector import Detector
from htsat_edge.runtime.models.backends.backend import Scores
from htsat_edge.runtime.models.bundle import load_bundle

INFO = load_bundle().info
RATES = (8_000, 16_000, 32_000, 44_100)
IDLE_S = 60.0


def score(log_mel):
    """Each class is a band of frequencies: it sounds where that is loud."""
    bands = log_mel.reshape(len(log_mel), INFO.steps, -1, INFO.front_end.n_mels).mean(2)
    return expit((bands[:, :, : len(INFO.labels)] + 45) / 5).astype(np.float32)


class LevelBackend:
    def infer(self, log_mel):
        framewise = score(log_mel)
        return Scores(framewise, framewise.max(1), framewise.mean(1))

    def close(self):
        pass


def sound(seed, rate, seconds):
    """Noise that is loud now and then."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.choice([1e-4, 0.3], 1 + int(seconds)), rate)[: int(seconds * rate)]
    return (rng.normal(0, 1, len(loud)) * loud).astype(np.float32)


def cut(samples, seed):
    """Blocks of any length, some empty."""
    rng = np.random.default_rng(seed)
    ends = np.sort(rng.integers(0, len(samples) + 1, rng.integers(0, 12)))
    return np.split(samples, ends)


def blocks(stream, parts, rate):
    last = len(parts) - 1
    return [StreamBlock(stream, part, rate, number == 0, number == last) for number, part in enumerate(parts)]


def local(stream, samples, rate):
    detector = Detector(INFO, LevelBackend(), rate, source=str(stream))
    return [event.encoded for event in detector.push(samples) + detector.flush()]


@pytest.fixture
def clock():
    """Seconds that the test sets."""
    return [0.0]


@pytest.fixture
def streams(clock):
    return ServedStreams(INFO, score, IDLE_S, lambda: clock[0])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from(RATES)), min_size=1, max_size=4), st.randoms())
def test_interleaved_streams_have_the_events_of_the_detector(drawn, random):
    served = ServedStreams(INFO, score, IDLE_S)
    sounds = {f"stream {n}": (sound(seed, rate, 9 + seed % 5), rate) for n, (seed, rate) in enumerate(drawn)}
    waiting = {name: blocks(name, cut(x, n), rate) for n, (name, (x, rate)) in enumerate(sounds.items())}
    found = dict.fromkeys(sounds, "")
    while waiting:
        together = random.sample(sorted(waiting), random.randint(1, len(waiting)))
        answers = served.hear([waiting[name].pop(0) for name in together])
        for name, answer in zip(together, answers, strict=True):
            found[name] += answer
        waiting = {name: left for name, left in waiting.items() if left}
    wanted = {name: local(name, x, rate) for name, (x, rate) in sounds.items()}
    assert {name: text.splitlines() for name, text in found.items()} == wanted
    assert any(wanted.values())
    assert len(served) == 0


def test_the_windows_of_all_streams_are_scored_at_once():
    batches = []

    def count(log_mel):
        batches.append(len(log_mel))
        return score(log_mel)

    served = ServedStreams(INFO, count, IDLE_S)
    served.hear([StreamBlock(number, sound(number, 16_000, 11), 16_000, True, False) for number in range(3)])
    assert len(batches) == 1
    served.hear([StreamBlock(number, sound(number, 16_000, 0.01), 16_000, False, False) for number in range(3)])
    assert len(batches) == 1  # without a window nobody is asked


def test_start_forgets_what_was_heard_under_the_id(streams):
    x = sound(1, 16_000, 11)
    streams.hear([StreamBlock(7, sound(2, 44_100, 5), 44_100, True, False)])
    (answer,) = streams.hear([StreamBlock(7, x, 16_000, True, True)])
    assert answer.splitlines() == local(7, x, 16_000) != []


def test_what_is_unknown_is_asked_to_begin(streams):
    (answer,) = streams.hear([StreamBlock(7, sound(1, 16_000, 1), 16_000, False, False)])
    assert isinstance(answer, HtsatEdgeError)
    assert "sequence 7: nothing is known of it: begin the sequence again (sequence_start)" in str(answer)


def test_a_stream_that_is_idle_for_too_long_is_forgotten_and_no_other(streams, clock):
    for key in ("a", "b"):
        streams.hear([StreamBlock(key, sound(1, 16_000, 1), 16_000, True, False)])
    clock[0] = IDLE_S
    assert streams.hear([StreamBlock("a", sound(1, 16_000, 1), 16_000, False, False)]) == [""]
    clock[0] = IDLE_S + 1
    streams.hear([StreamBlock("a", sound(1, 16_000, 1), 16_000, False, False)])
    assert len(streams) == 1
    (answer,) = streams.hear([StreamBlock("b", sound(1, 16_000, 1), 16_000, False, False)])
    assert "nothing is known" in str(answer)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(100, np.float32), 8_000, "began with 16000 Hz, and now has 8000 Hz"),
        (np.full(100, np.nan, np.float32), 16_000, "finite"),
    ],
)
def test_a_wrong_piece_is_refused_and_the_stream_goes_on(streams, samples, rate, message):
    x = sound(3, 16_000, 12)
    (first,) = streams.hear([StreamBlock(7, x[:50_000], 16_000, True, False)])
    (refused,) = streams.hear([StreamBlock(7, samples, rate, False, False)])
    assert isinstance(refused, HtsatEdgeError)
    assert message in str(refused)
    (last,) = streams.hear([StreamBlock(7, x[50_000:], 16_000, False, True)])
    assert (first + last).splitlines() == local(7, x, 16_000) != []


@pytest.mark.parametrize("rate", [0, -1])
def test_a_sequence_needs_a_sample_rate(streams, rate):
    streams.hear([StreamBlock(7, sound(1, 16_000, 1), 16_000, True, False)])
    (answer,) = streams.hear([StreamBlock(7, sound(1, 16_000, 1), rate, True, False)])
    assert "want a sample rate in Hz" in str(answer)
    assert len(streams) == 0


def test_a_sequence_that_is_too_short_is_said_and_forgotten(streams):
    (answer,) = streams.hear([StreamBlock(7, np.zeros(10, np.float32), 16_000, True, True)])
    assert "too short" in str(answer)
    assert len(streams) == 0


def test_where_windows_are_lost_the_stream_must_begin_again_and_others_go_on():
    x = sound(4, 16_000, 12)
    broken = [False]

    def sometimes(log_mel):
        if broken[0]:
            raise HtsatEdgeError("bundled: is not ready")
        return score(log_mel)

    served = ServedStreams(INFO, sometimes, IDLE_S)
    served.hear([StreamBlock("lost", x, 16_000, True, False)])
    (first,) = served.hear([StreamBlock("kept", x[:50_000], 16_000, True, False)])
    broken[0] = True
    kept, lost = served.hear(
        [StreamBlock("kept", x[50_000:50_010], 16_000, False, False), StreamBlock("lost", x, 16_000, False, False)]
    )
    assert kept == ""
    assert str(lost) == "bundled: is not ready; begin the sequence again (sequence_start)"
    broken[0] = False
    (again,) = served.hear([StreamBlock("lost", x, 16_000, False, False)])
    assert "nothing is known" in str(again)
    (last,) = served.hear([StreamBlock("kept", x[50_010:], 16_000, False, True)])
    assert (first + last).splitlines() == local("kept", x, 16_000) != []
