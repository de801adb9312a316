"""Notifications that wait for clips."""

from pathlib import Path

from htsat_edge.runtime.daemon.outputs.notify.clips import MOST_CLIPS, AwaitingClip, ClipsAwaited
from htsat_edge.runtime.daemon.outputs.notify.service import Notification

KEY, CLIP = ("yard", 7), Path("clips/dog.flac")


def awaiting(until_s, title="Dog"):
    return AwaitingClip(Notification(title, "text", 0.0), ["phone"], until_s)


def clips_of(found):
    return [(one.notification.title, one.notification.clip, one.notification.text) for one in found]


def test_a_notification_goes_with_its_clip_once():
    awaited = ClipsAwaited()
    assert (
        awaited.expect(KEY, awaiting(10.0)) == awaited.take(("gate", 7), CLIP) == awaited.take(("yard", 8), CLIP) == []
    )
    assert clips_of(awaited.take(KEY, CLIP)) == [("Dog", CLIP, "text")]
    assert awaited.take(KEY, CLIP) == awaited.expire(1e9) == []


def test_a_clip_may_come_first():
    awaited = ClipsAwaited()
    assert awaited.take(KEY, CLIP) == []
    assert clips_of(awaited.expect(KEY, awaiting(10.0))) == [("Dog", CLIP, "text")]


def test_without_a_clip_in_time_it_goes_and_says_so():
    awaited = ClipsAwaited()
    awaited.expect(KEY, awaiting(10.0))
    awaited.expect(KEY, awaiting(20.0, "later"))
    assert awaited.expire(9.9) == []
    assert clips_of(awaited.expire(10.0)) == [("Dog", None, "text\n(its clip is not attached)")]
    assert clips_of(awaited.take(KEY, CLIP)) == [("later", CLIP, "text")]


def test_after_the_end_of_its_event_it_waits_less_long_but_never_longer():
    awaited = ClipsAwaited()
    awaited.expect(KEY, awaiting(10.0))
    awaited.hasten(("gate", 7), 0.0)
    awaited.hasten(KEY, 5.0)
    awaited.hasten(KEY, 8.0)
    assert awaited.expire(4.9) == []
    assert len(awaited.expire(5.0)) == 1


def test_few_clips_are_remembered():
    awaited = ClipsAwaited()
    for number in range(MOST_CLIPS + 1):
        awaited.take(("yard", number), CLIP)
    assert awaited.expect(("yard", 0), awaiting(10.0)) == []
    assert len(awaited.expect(("yard", 1), awaiting(10.0))) == 1
