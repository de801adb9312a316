"""An output that loses what it gets does not work, and says so: once, however often it loses some."""

import threading

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.outputs.sender import TRIES, MessageSender, RefusedError

pytestmark = pytest.mark.usefixtures("short_pauses")


class LossySender(MessageSender):
    """Fails of each message as the test wants it, or hangs."""

    batch = 1

    def __init__(self, queued=1000):
        super().__init__("lossy", queued)
        self.error, self.free, self.tried = None, threading.Event(), 0
        self.free.set()

    def send(self, batch):
        self.tried += 1
        self.free.wait()
        if self.error is not None:
            raise self.error


@pytest.fixture
def sender():
    made = LossySender()
    made.start()
    yield made
    made.error = None
    made.free.set()
    made.close()


@pytest.fixture
def pass_on(sender, make_events, wait_for):
    """Offers messages, and waits until each was sent or lost."""

    def offer(count):
        before = sender.sent + sender.dropped
        for message in make_events(count):
            sender.offer(message)
        wait_for(lambda: sender.sent + sender.dropped == before + count)

    return offer


def test_one_that_is_refused_again_and_again_does_not_work(sender, pass_on):
    """Until something is taken."""
    sender.error = RefusedError("no")
    pass_on(TRIES - 1)
    assert not sender.failing
    pass_on(1)
    assert sender.failing
    sender.error = None
    pass_on(1)
    assert not sender.failing
    assert list(sender.notices()) == ["no; what is refused is lost", None]


def test_one_that_cannot_send_what_it_gets_does_not_work(sender, pass_on):
    """After something was refused, too, which is another fault."""
    sender.error = RefusedError("no")
    pass_on(1)
    sender.error = ValueError("bug")
    pass_on(1)
    assert sender.failing
    assert list(sender.notices()) == [
        "no; what is refused is lost",
        "bug; it is tried again",
        f"bug; what cannot be sent is set aside after {TRIES} tries",
    ]


def test_what_is_lost_now_and_then_is_reported_once_and_is_no_failure(sender, pass_on):
    for sender.error in [RefusedError("no"), None] * 2 * TRIES:
        pass_on(1)
        assert not sender.failing
    assert list(sender.notices()) == ["no; what is refused is lost", None]


def test_one_whose_queue_is_full_while_it_hangs_does_not_work(make_events, wait_for):
    sender = LossySender(queued=2)
    sender.free.clear()
    sender.start()
    sender.offer(*make_events(1))
    wait_for(lambda: sender.tried == 1)
    for message in make_events(2 + TRIES, first=1):
        assert not sender.failing
        sender.offer(message)
    assert sender.failing
    sender.free.set()
    wait_for(lambda: sender.sent == 3)
    assert not sender.failing
    sender.close()
    assert list(sender.notices()) == ["is 2 items behind, and loses some", None]


def test_what_is_left_at_the_end_is_counted_once_while_the_end_hangs_too(make_events, wait_for, monkeypatch, caplog):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 0.1)
    ended, go_on = threading.Event(), threading.Event()

    class Hanging(LossySender):
        def closed(self):
            ended.set()
            go_on.wait()

    sender = Hanging()
    sender.error = HtsatEdgeError("away")
    sender.start()
    for message in make_events(125):
        sender.offer(message)
    wait_for(lambda: sender.failures > 1)
    sender.end()
    assert ended.wait(60)
    sender.close()
    assert (sender.undelivered, sender.dropped) == (125, 125)
    assert caplog.messages[-1] == "lossy: 125 were not delivered when the program ended: away"
    go_on.set()


def test_of_a_batch_that_is_sent_one_by_one_only_the_rest_is_left(make_events, wait_for, monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.sender.CLOSE_S", 0.05)
    free, hangs = threading.Event(), threading.Event()

    class Picky(LossySender):
        batch = 5

        def send(self, batch):
            if len(batch) > 1:
                raise ValueError("one of them")
            if batch[0].id == 4:
                hangs.set()
                free.wait()

    sender = Picky()
    for message in make_events(5):
        sender.offer(message)
    sender.start()
    assert hangs.wait(60)
    sender.close()
    assert (sender.sent, sender.undelivered) == (3, 2)
    free.set()
