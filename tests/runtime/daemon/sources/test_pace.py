"""Sources that pause: what was lost is a gap of the right length in the right place; what comes later is not lost."""

import numpy as np
import pytest

from htsat_edge.runtime.daemon.sources.pace import HOLD_S, WINDOW_S, Pace

RATE = 1000
BLOCK_S = 0.1


def blocks(begin_s, end_s, delay_s=0.0, speed=1.0, block_s=BLOCK_S):
    """Blocks of what sounds in a span: when each comes, where they come so much later, and at that speed."""
    count = round((end_s - begin_s) / block_s)
    for number in range(1, count + 1):
        yield begin_s + delay_s + number * block_s / speed, np.full(round(block_s * RATE), begin_s, np.float32)


def run(arrivals, jitter_s=0.01, seed=0):
    """Return what a Pace makes of arrivals: seconds of sound, and of gaps as negative ones; and the longest delay."""
    pace, rng, parts, held_s, waiting = Pace(RATE), np.random.default_rng(seed), [0.0], 0.0, []
    arrivals = [(at + rng.exponential(jitter_s), samples) for at, samples in arrivals]
    for number, (at, samples) in enumerate(arrivals):
        waiting.append(at)
        found = list(pace.push(at, samples))
        if number == len(arrivals) - 1:
            found += pace.flush()
        for part in found:
            if isinstance(part, float):
                parts += [-part, 0.0]
            else:
                parts[-1] += len(part) / RATE
                held_s = max(held_s, at - waiting.pop(0))
    return parts, held_s


@pytest.mark.parametrize("lost_s", [0.5, 1.0, 6.0, 30.0, 3000.0])
@pytest.mark.parametrize("block_s", [0.02, 0.1, 0.5])
def test_a_source_that_loses_what_sounds_while_it_pauses_has_a_gap_there(lost_s, block_s):
    arrivals = [*blocks(0, 10, block_s=block_s), *blocks(10 + lost_s, 30 + lost_s, block_s=block_s)]
    parts, held_s = run(arrivals)
    assert parts == [pytest.approx(10, abs=1e-6), pytest.approx(-lost_s, abs=0.1), pytest.approx(20, abs=1e-6)]
    assert held_s < WINDOW_S + 1


@pytest.mark.parametrize("pause_s", [0.5, 1.0, 6.0, 30.0])
@pytest.mark.parametrize("speed", [1.1, 2.0, 100.0])
def test_a_source_that_keeps_what_sounds_while_it_pauses_and_catches_up_loses_nothing(pause_s, speed):
    behind = [*blocks(10, 10 + speed * pause_s / (speed - 1), delay_s=pause_s, speed=speed)]
    end_s = 10 + len(behind) * BLOCK_S
    parts, held_s = run([*blocks(0, 10), *behind, *blocks(end_s, end_s + 10)])
    assert parts == [pytest.approx(end_s + 10)]
    assert held_s < WINDOW_S + 1


def test_what_is_lost_in_part_is_a_gap_of_that_part():
    """Of 30 s, the last 4 were kept."""
    kept = [(40.0 + 0.001 * n, samples) for n, (_, samples) in enumerate(blocks(36, 40))]
    parts, _ = run([*blocks(0, 10), *kept, *blocks(40, 60)])
    assert [part for part in parts if part < 0] == [pytest.approx(-26, abs=0.2)]


def test_several_losses():
    arrivals = [*blocks(0, 10), *blocks(12, 20), *blocks(21, 30), *blocks(90, 99)]
    parts, _ = run(arrivals)
    assert parts == pytest.approx([10, -2, 8, -1, 9, -60, 9], abs=0.1)


def test_a_loss_in_small_parts_is_known_when_it_is_over():
    """Every second a fifth is lost: nothing is flat meanwhile."""
    torn = [block for second in range(10, 25) for block in blocks(second + 0.4, second + 1)]
    parts, held_s = run([*blocks(0, 10), *torn, *blocks(25, 35)])
    assert -sum(part for part in parts if part < 0) == pytest.approx(15 * 0.4, abs=0.3)
    assert held_s < HOLD_S + 0.5


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.5, 20.0])
@pytest.mark.parametrize("pause_s", [0.0, 2.0])
def test_a_recording_that_comes_at_its_own_speed_loses_nothing(speed, pause_s):
    arrivals = [*blocks(0, 20, speed=speed), *blocks(20, 60, delay_s=20 / speed - 20 + pause_s, speed=speed)]
    assert run(arrivals)[0] == [pytest.approx(60)]


@pytest.mark.parametrize("segment_s", [2, 6])
def test_segments_of_a_broadcast_lose_nothing(segment_s):
    arrivals = [
        (begin + segment_s + 0.01 * number, samples)
        for begin in range(0, 60, segment_s)
        for number, (_, samples) in enumerate(blocks(begin, begin + segment_s))
    ]
    parts, held_s = run(arrivals)
    assert parts == [pytest.approx(60)]
    assert held_s < 1


def test_delays_of_a_busy_network_lose_nothing():
    assert run(blocks(0, 600), jitter_s=0.15)[0] == [pytest.approx(600)]


@pytest.mark.parametrize("ppm", [-400, 400])
def test_a_crystal_that_is_off_loses_nothing(ppm):
    assert run(blocks(0, 3600, speed=1 + ppm / 1e6, block_s=0.5))[0] == [pytest.approx(3600)]


def test_a_source_that_had_to_wait_for_its_reader_is_judged_anew():
    pace = Pace(RATE)
    for at, samples in blocks(0, 10):
        assert [len(part) for part in pace.push(at, samples)] == [100]
    assert list(pace.push(15.0, np.zeros(100, np.float32))) == []  # held: it may have lost 5 s
    assert [len(part) for part in pace.reset()] == [100]
    for at, samples in blocks(15, 30):
        assert [len(part) for part in pace.push(at, samples)] == [100]


def test_the_end_of_a_source_releases_what_is_held():
    parts, _ = run([*blocks(0, 10), *blocks(15, 15.5)])
    assert parts == pytest.approx([10, -5, 0.5], abs=0.05)
