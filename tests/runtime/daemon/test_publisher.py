import time
from datetime import datetime

import pytest

from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.messages import ConfigLoaded, OutputBack, OutputFailed
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.supervision import warnings

NOON = datetime.fromisoformat("2026-11-26T12:00:00+00:00")


@pytest.fixture
def system():
    """A clock that says noon."""
    return SystemClock(NOON.timestamp(), time.monotonic())


def test_every_output_gets_every_message_in_order(kept_output, make_events, system):
    outputs = [kept_output("a"), kept_output("b")]
    publisher = Publisher(outputs, system)
    publisher.publish(make_events(3))
    publisher.publish(iter(make_events(2, first=3)))
    assert outputs[0].got == outputs[1].got == make_events(5)


def test_a_failure_and_its_end_are_messages_to_the_other_outputs(kept_output, system):
    broken, other, third = kept_output("broken"), kept_output("other"), kept_output("third")
    publisher = Publisher([broken, other, third], system)
    publisher.publish_notices()
    assert other.got == []
    broken.reported += ["not now; it is tried again", None]
    publisher.publish_notices()
    publisher.publish_notices()
    failed, back = other.got
    assert (type(failed), failed.output, failed.text) == (OutputFailed, "broken", "not now; it is tried again")
    assert (type(back), back.output) == (OutputBack, "broken")
    assert third.got == other.got
    assert broken.got == []
    for message in (failed, back):
        assert message.source is None
        assert 0 <= (datetime.fromisoformat(message.time) - NOON).total_seconds() < 60


def test_an_output_that_refuses_what_it_is_told_of_itself_makes_no_messages_without_end(kept_output, system):
    """A webhook that takes events only: its own status would be refused, which would be the next status."""

    class Picky(kept_output):
        def offer(self, message):
            super().offer(message)
            self.reported.append("it refuses this" if isinstance(message, OutputBack | OutputFailed) else None)

    picky, other = Picky("picky"), kept_output("other")
    publisher = Publisher([picky, other], system)
    publisher.publish([ConfigLoaded(time=None)])
    for _ in range(10):
        publisher.publish_notices()
    assert [type(message) for message in other.got] == [ConfigLoaded, OutputBack]


def test_failures_of_who_writes_clips_are_messages_but_it_gets_none(kept_output, system):
    output, writer = kept_output("output"), kept_output("clips")
    publisher = Publisher([output], system, writer)
    assert publisher.senders == [output, writer]
    writer.reported.append("the disk is full; it is tried again")
    publisher.publish_notices()
    assert [(type(message), message.output) for message in output.got] == [(OutputFailed, "clips")]
    assert writer.got == []


def test_now_is_the_systems_time_of_day(kept_output, system):
    publisher = Publisher([], system)
    assert publisher.now().startswith("2026-11-26T12:00:")
    system.update(NOON.timestamp() + 3600, time.monotonic())
    assert publisher.now().startswith("2026-11-26T13:00:")


def test_an_output_that_cannot_take_a_message_disturbs_no_other(kept_output, make_events, system):
    broken, other = kept_output("broken"), kept_output("other")
    publisher = Publisher([broken, other], system)
    take = broken.offer

    def fail(_):
        raise ValueError("odd")

    broken.offer = fail
    publisher.publish(make_events(3))
    publisher.publish_notices()
    *events, failed = other.got
    assert events == make_events(3)
    assert (type(failed), failed.output) == (OutputFailed, "broken")
    assert failed.text.startswith("ValueError: odd (test_publisher.py:")
    assert broken.dropped == 3
    assert publisher.failing(broken)
    assert not publisher.failing(other)
    broken.offer = take
    publisher.publish(make_events(1, first=3))
    publisher.publish_notices()
    assert broken.got == make_events(1, first=3)
    assert (type(other.got[-1]), other.got[-1].output) == (OutputBack, "broken")
    assert not publisher.failing(broken)


def test_an_output_that_fails_with_another_text_each_time_is_one_warning(kept_output, make_events, system, caplog):
    warnings.close()  # of other tests
    caplog.clear()
    broken, numbers = kept_output("broken"), iter(range(50))

    def fail(_):
        raise ValueError(f"odd: {next(numbers)}")

    broken.offer = fail
    Publisher([broken], system).publish(make_events(50))
    assert len(caplog.records) == 1
    assert broken.dropped == 50
