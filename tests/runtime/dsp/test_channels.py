import logging

import numpy as np
import pytest

from htsat_edge.runtime.dsp.channels import BLOCK_S, Downmix

RATE = 1000
BLOCK = round(BLOCK_S * RATE)


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def downmix(channels, channel="mix", sizes=(10**9,), wait=True, name="yard.wav"):
    """The mix of channels, given as a list of (S,), in parts of these sizes in turn."""
    frames = np.stack(channels, axis=1)
    mix, done, at, turn = Downmix(frames.shape[1], RATE, channel, name, wait), [], 0, 0
    while at < len(frames):
        done.append(mix.push(frames[at : at + sizes[turn % len(sizes)]]))
        at, turn = at + sizes[turn % len(sizes)], turn + 1
    return np.concatenate([*done, mix.flush()])


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.WARNING)
    return lambda: [record.getMessage() for record in caplog.records]


X, Y = noise(3), noise(3, seed=1)
ZERO = np.zeros_like(X)


@pytest.mark.parametrize(
    "channels",
    [[X], [X, X], [X, Y], [X, 0.1 * Y], [X, 0.3 * -X], [X, Y, -X], [ZERO, ZERO], [X + 1, Y + 1]],
    ids=["one", "equal", "unrelated", "quiet", "reflection", "partly", "silence", "constant"],
)
def test_channels_are_mixed(channels, logged):
    assert np.array_equal(downmix(channels), np.stack(channels, axis=1).mean(axis=1))
    assert logged() == []


@pytest.mark.parametrize(
    ("channels", "used", "said"),
    [
        ([X, -X], 0, "its channels cancel each other when mixed; channel 1, the loudest, is used instead"),
        ([0.8 * -X, X], 1, "its channels cancel each other when mixed; channel 2, the loudest, is used instead"),
        (
            [X + 0.5, 0.5 - 0.9 * X],
            0,
            "its channels cancel each other when mixed; channel 1, the loudest, is used instead",
        ),
        ([ZERO, X], 1, "is mixed without its silent channels: 1"),
        ([X, 1e-4 * Y], 0, "is mixed without its silent channels: 2"),
        ([ZERO, ZERO, ZERO, X, ZERO, ZERO], 3, "is mixed without its silent channels: 1, 2, 3, 5, 6"),
    ],
)
@pytest.mark.parametrize("seconds", [0.05, 3])
def test_what_a_mix_would_lose_is_heard(channels, used, said, seconds, logged):
    """From the first sample on, and said once."""
    channels = [channel[: round(seconds * RATE)] for channel in channels]
    assert np.array_equal(downmix(channels), channels[used])
    assert logged() == [f"yard.wav: {said}"]


def test_of_six_channels_two_of_which_hold_something_those_are_mixed(logged):
    mixed = downmix([ZERO, X, ZERO, Y, ZERO, ZERO])
    assert np.array_equal(mixed, np.stack([X, Y], axis=1).mean(axis=1))


def test_a_live_source_waits_for_nothing():
    """The first block is mixed, and what it held decides about the next."""
    mix = Downmix(2, RATE)
    frames = np.stack([X, -X], axis=1)
    assert np.array_equal(mix.push(frames[: BLOCK + 1]), np.append(np.zeros(BLOCK, np.float32), X[BLOCK]))
    assert np.array_equal(mix.push(frames[BLOCK + 1 :]), X[BLOCK + 1 :])


def test_a_choice_stays_for_as_long_as_it_fits():
    """A second of anti-phase in a long recording changes nothing; a plug that stays the wrong way round does."""
    long, other = noise(60, seed=2), 0.8 * noise(60, seed=3)
    turned = other.copy()
    turned[30 * RATE : 31 * RATE] = -long[30 * RATE : 31 * RATE]
    assert np.array_equal(downmix([long, turned]), np.stack([long, turned], axis=1).mean(axis=1))
    turned[30 * RATE :] = -0.7 * long[30 * RATE :]
    mixed = downmix([long, turned])
    assert np.array_equal(mixed[50 * RATE :], long[50 * RATE :])
    turned[: 30 * RATE], turned[30 * RATE :] = -0.7 * long[: 30 * RATE], long[30 * RATE :]
    assert np.array_equal(downmix([long, turned])[: 30 * RATE], long[: 30 * RATE])
    assert np.array_equal(downmix([long, turned])[50 * RATE :], long[50 * RATE :])


@pytest.mark.parametrize(("channel", "used"), [("first", 0), (1, 0), (2, 1), (3, 2), ("loudest", 2)])
def test_one_channel_can_be_chosen(channel, used, logged):
    channels = [X, 0.5 * Y, 3 * X]
    assert np.array_equal(downmix(channels, channel), channels[used])
    assert logged() == []


def test_the_loudest_is_another_one_only_when_it_is_much_louder():
    first, second = noise(30), noise(30, seed=1)
    for factor, used in ((1.5, 0), (4, 1)):
        grown = second.copy()
        grown[15 * RATE :] *= factor
        chosen = downmix([1.1 * first, grown], "loudest")
        assert np.array_equal(chosen[-RATE:], ([1.1 * first, grown][used])[-RATE:])


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("channel", ["mix", "loudest", 2])
def test_any_chunking_gives_the_same(channel, wait):
    """Of a recording whose channels cancel, fall silent and grow loud by turns."""
    rng = np.random.default_rng(4)
    parts = [(noise(3, seed), gain) for seed, gain in enumerate(rng.choice([-2, -1, 0, 0.3, 1], (12, 3)))]
    frames = np.concatenate([x[:, None] * gain for x, gain in parts])
    channels = list(frames.astype(np.float32).T)
    whole = downmix(channels, channel, wait=wait)
    for sizes in ([1, 7, 99, 100, 101, 1000], [100], [17_000], list(rng.integers(1, 500, 50))):
        assert downmix(channels, channel, sizes, wait).tobytes() == whole.tobytes()


@pytest.mark.parametrize("silent", [0, 1])
def test_any_chunking_gives_the_same_bits_for_many_channels(silent):
    """numpy adds nine numbers in another order where they do not lie side by side."""
    channels = [noise(1, seed) for seed in range(10)] + [np.zeros(RATE, np.float32)] * silent
    whole = downmix(channels, wait=False)
    for sizes in ([1], [7, 100], [99]):
        assert downmix(channels, sizes=sizes, wait=False).tobytes() == whole.tobytes()


def test_samples_that_are_no_numbers_do_not_decide():
    broken = X.copy()
    broken[5] = np.nan
    mixed = downmix([broken, -X])
    assert np.isnan(mixed[5])
    assert np.array_equal(mixed[2 * BLOCK :], broken[2 * BLOCK :])
