"""Queues that are bounded, sending again, and what is reported of an output that is slow, dead or full."""

import itertools
import threading
import time

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.outputs.sender import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    TRIES,
    MessageSender,
    RefusedError,
)

pytestmark = pytest.mark.usefixtures("short_pauses")


class KeptSender(MessageSender):
    """Keeps what it gets; fails, refuses or waits where the test wants it."""

    def __init__(self, queued=1000):
        super().__init__("kept", queued)
        self.got, self.fails, self.refuses = [], 0, False
        self.free = threading.Event()
        self.free.set()

    def send(self, batch):
        self.free.wait()
        if self.refuses:
            raise RefusedError("no")
        if self.fails:
            self.fails -= 1
            raise ConnectionError("not now")
        self.got += batch


@pytest.fixture
def start():
    """Starts a sender."""
    started = []

    def begin(sender):
        started.append(sender)
        sender.start()
        return sender

    yield begin
    for sender in started:
        sender.free.set()
        sender.close()


def offer(sender, messages):
    for message in messages:
        sender.offer(message)


def test_messages_arrive_in_order_and_failures_lose_none(start, make_events, caplog):
    sender = KeptSender()
    sender.fails = 3
    offer(start(sender), make_events(500))
    sender.close()
    assert sender.got == make_events(500)
    assert (sender.sent, sender.dropped, sender.failures, sender.waiting) == (500, 0, 3, 0)
    assert caplog.text.count("kept: not now; it is tried again") == 1
    assert caplog.text.count("kept: works again") == 1
    assert list(sender.notices()) == ["not now; it is tried again", None]
    assert list(sender.notices()) == []


def test_what_the_thread_holds_is_released_once_at_its_end(start, make_events):
    class Holding(KeptSender):
        released = 0

        def closed(self):
            assert len(self.got) == 3
            self.released += 1

    sender = Holding()
    offer(start(sender), make_events(3))
    for _ in range(2):
        sender.close()
    assert sender.released == 1


def test_several_at_once_up_to_the_batch(start, make_events):
    sizes = []

    class Sized(KeptSender):
        batch = 4

        def send(self, batch):
            sizes.append(len(batch))
            super().send(batch)

    sender = Sized()
    offer(sender, make_events(10))
    start(sender).close()
    assert sizes == [4, 4, 2]


def test_a_slow_one_never_makes_anybody_wait_and_what_it_loses_is_counted(start, make_events, caplog):
    sender = KeptSender(queued=10)
    sender.free.clear()
    start(sender)
    begun = time.monotonic()
    offer(sender, make_events(500))
    assert time.monotonic() - begun < 1
    assert sender.waiting == 10
    sender.free.set()
    sender.close()
    assert sender.sent + sender.dropped == 500
    assert sender.dropped >= 400
    assert sender.failures == 0
    assert sender.got == sorted(sender.got, key=lambda message: message.id)
    more, full = sender.dropped - 1, "is 10 items behind, and loses some"
    logged = [full, "works again", f"{full} ({more} more since the last one)"]
    assert caplog.messages == [f"kept: {text}" for text in logged]
    assert list(sender.notices()) == [full, None]


def test_the_first_that_is_lost_is_reported(make_events, caplog):
    sender = KeptSender(queued=2)
    offer(sender, make_events(2))
    assert (sender.waiting, sender.dropped, caplog.text) == (2, 0, "")
    offer(sender, make_events(1, first=2))
    assert (sender.waiting, sender.dropped) == (2, 1)
    assert "kept: is 2 items behind, and loses some" in caplog.text


def test_those_that_hang_keep_the_program_from_ending_for_a_moment_all_at_once(start, make_events, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 0.4)
    senders = [start(KeptSender()) for _ in range(5)]
    for sender in senders:
        sender.free.clear()
        offer(sender, make_events(3))
    begun = time.monotonic()
    for sender in senders:
        sender.end()
    for sender in senders:
        sender.close()
    assert 0.4 <= time.monotonic() - begun < 1.5


def test_what_is_refused_for_good_is_not_sent_again_and_reported_once(start, make_events, wait_for, caplog):
    sender = KeptSender()
    sender.batch = 1
    start(sender)
    for number, sender.refuses in enumerate([True, False, True]):
        sender.offer(*make_events(1, first=number))
        wait_for(lambda number=number: sender.sent + sender.dropped == number + 1)
    assert caplog.text.count("kept: no; what is refused is lost") == 1
    sender.close()
    assert sender.got == make_events(1, first=1)
    assert (sender.sent, sender.dropped, sender.failures) == (1, 2, 0)
    assert list(sender.notices()) == ["no; what is refused is lost", None]
    assert not sender.failing
    assert caplog.messages[-1] == "kept: no; what is refused is lost (1 more since the last one)"


def test_a_closed_one_does_not_go_on(start, make_events, monkeypatch, wait_for, caplog):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 0.2)
    sender = KeptSender()
    sender.fails = 10**9
    offer(start(sender), make_events(300))
    sender.close()
    wait_for(lambda: not any(thread.name == "kept" for thread in threading.enumerate()))
    assert "were not delivered when the program ended" in caplog.text
    assert (sender.sent, sender.dropped, sender.undelivered) == (0, 300, 300)


def test_pauses_between_tries_double_up_to_the_longest(make_events, monkeypatch):
    monkeypatch.undo()  # the real pauses: nothing waits here
    pauses = []

    class Impatient(KeptSender):
        def _pause(self, pause_s):
            pauses.append(pause_s)
            return len(pauses) == 10

    sender = Impatient()
    sender.fails = 100
    sender._deliver(make_events(1))
    assert (FIRST_PAUSE_S, LONGEST_PAUSE_S) == (0.2, 30.0)
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30, 30])
    assert (sender.failures, sender.dropped) == (10, 1)


def test_it_waits_between_tries(start, make_events, wait_for):
    tries = []

    class Timed(KeptSender):
        def send(self, batch):
            tries.append(time.monotonic())
            super().send(batch)

    sender = Timed()
    sender.fails = 4
    offer(start(sender), make_events(1))
    wait_for(lambda: sender.sent == 1)
    between = [after - before for before, after in itertools.pairwise(tries)]
    assert [pause >= least for pause, least in zip(between, (0.02, 0.04, 0.08, 0.1), strict=True)] == [True] * 4


def test_what_there_is_to_do_is_done_while_nothing_is_sent_and_its_failure_is_logged(start, wait_for, caplog):
    class Busy(KeptSender):
        idled = 0

        def idle(self):
            self.idled += 1
            raise OSError("the disk is full")

    sender = start(Busy())
    wait_for(lambda: sender.idled == 2)
    assert caplog.messages == ["kept: the disk is full"]
    sender.close()
    assert "kept: the disk is full (" in caplog.messages[-1]
    assert list(sender.notices()) == []


class PickySender(KeptSender):
    """Cannot send some items, whatever it tries; counts the tries."""

    def __init__(self, faulty, error, batch):
        super().__init__()
        self.batch, self._faulty, self._error, self.tries = batch, faulty, error, 0

    def send(self, batch):
        if any(item.id in self._faulty for item in batch):
            self.tries += len(batch) == 1
            raise self._error
        super().send(batch)


@pytest.mark.parametrize("batch", [1, 4, 100])
@pytest.mark.parametrize("error", [UnicodeEncodeError("utf-8", "\udcfc", 0, 1, "surrogates not allowed"), KeyError(1)])
def test_what_cannot_be_sent_is_set_aside_and_the_others_go_on(error, batch, start, make_events, wait_for, caplog):
    sender = PickySender({3, 4, 9}, error, batch)
    offer(start(sender), make_events(12))
    wait_for(lambda: sender.sent + sender.dropped == 12)
    sender.close()
    assert [message.id for message in sender.got] == [1, 2, 5, 6, 7, 8, 10, 11, 12]
    assert (sender.sent, sender.dropped, sender.undelivered) == (9, 3, 0)
    assert sender.tries == 3 * TRIES
    reason = " ".join(str(error).split())
    notices = [f"{reason}; it is tried again", f"{reason}; what cannot be sent is set aside after {TRIES} tries"]
    assert list(sender.notices()) == [*notices, None]
    logged = [*notices, "works again", *(f"{notice} (2 more since the last one)" for notice in notices)]
    assert caplog.messages == [f"kept: {text}" for text in logged]


@pytest.mark.parametrize("error", [OSError("the disk is full"), ConnectionError("no broker"), HtsatEdgeError("no")])
def test_nothing_is_set_aside_for_a_destination_that_is_away(error, start, make_events, wait_for):
    sender = PickySender({1}, error, 1)
    offer(start(sender), make_events(2))
    wait_for(lambda: sender.tries > 2 * TRIES)
    assert (sender.sent, sender.dropped) == (0, 0)
    sender._faulty = ()
    sender.close()
    assert sender.got == make_events(2)


def test_one_that_hangs_is_reported_at_the_end(start, make_events, monkeypatch, wait_for, caplog):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 0.05)
    sender = start(KeptSender())
    sender.batch = 1
    sender.free.clear()
    offer(sender, make_events(3))
    wait_for(lambda: sender.waiting == 2)
    sender.close()
    assert sender.undelivered == 3
    assert caplog.messages == ["kept: 3 were not delivered when the program ended"]
