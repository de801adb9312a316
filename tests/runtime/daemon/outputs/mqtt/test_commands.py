"""What others ask of the daemon through a real broker."""

import logging
import threading
from queue import SimpleQueue

import pytest

from htsat_edge.runtime.daemon.control import InvalidCommand, SetListening, SetThreshold
from htsat_edge.runtime.daemon.messages import SourcePaused, SourceResumed
from htsat_edge.runtime.daemon.outputs.mqtt import commands as command_topics
from htsat_edge.runtime.daemon.outputs.mqtt.commands import MOST_BYTES, CommandTopics
from htsat_edge.runtime.daemon.outputs.mqtt.topics import Topics

pytestmark = pytest.mark.usefixtures("short_pauses")
LISTENING, THRESHOLD = "htsat-edge/yard/listening/set", "htsat-edge/yard/threshold/set"
DOG = '{"label": "Dog", "threshold": 0.25}'


@pytest.fixture
def taken():
    """Returns what a command's topic makes of a content; None where it is not taken."""

    def take(topic, content, retained=False):
        asked, news = SimpleQueue(), threading.Event()
        topics = CommandTopics(Topics("htsat-edge", {"yard": ["Dog"]}), {"yard": True}, asked, news)
        assert topics.take(topic, content.encode() if isinstance(content, str) else content, retained)
        assert news.is_set() is not asked.empty()
        return None if asked.empty() else asked.get_nowait()

    return take


@pytest.mark.parametrize(("content", "listening"), [("ON", True), ("OFF", False)])
@pytest.mark.parametrize("retained", [False, True])
def test_on_and_off_also_retained(taken, content, listening, retained):
    assert taken(LISTENING, content, retained) == SetListening("yard", listening, "MQTT")


def test_what_is_retained_undoes_nothing_when_it_comes_again():
    """Also after a reload, which has other topics."""
    asked, retained = SimpleQueue(), {}
    for content, is_retained in [(b"ON", True), (b"OFF", False), (b"ON", True), (b"OFF", True)]:
        yard = Topics("htsat-edge", {"yard": []})
        CommandTopics(yard, {"yard": True}, asked, threading.Event(), retained).take(LISTENING, content, is_retained)
    assert [asked.get_nowait().listening for _ in range(asked.qsize())] == [True, False, False]


@pytest.mark.parametrize("content", ["on", "0", "ON ", "\0", b"\xff\xfe", "O" * 100_000])
def test_what_is_neither_on_nor_off_is_shown_in_one_short_line(taken, content):
    command = taken(LISTENING, content)
    assert isinstance(command, InvalidCommand)
    assert command.text.startswith(f"{LISTENING}: want ON or OFF, not ")
    assert len(command.text) < 250
    assert command.text.isprintable()


@pytest.mark.parametrize(
    ("source", "reason"), [("x\n", r"x\n: there is no such source; there are yard"), ("x" * 60_000, "x …: there is no")]
)
def test_an_order_to_a_source_that_is_not_there_is_rejected(taken, source, reason):
    for last in ("listening/set", "threshold/set"):
        command = taken(f"htsat-edge/{source}/{last}", "ON")
        assert reason in command.text
        assert len(command.text) < 250
        assert taken(f"htsat-edge/{source}/{last}", "") is None


@pytest.mark.parametrize("topic", ["yard/listening/set", "htsat-edge/listening/set", "htsat-edge/a/b/listening/set"])
def test_what_is_no_command_is_left_to_others(topic):
    topics = CommandTopics(Topics("htsat-edge", {"yard": []}), {"yard": True}, SimpleQueue(), threading.Event())
    assert not topics.take(topic, b"ON", False)


def test_a_threshold(taken):
    assert taken(THRESHOLD, DOG) == SetThreshold("yard", "Dog", 0.25, "MQTT")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("0.25", "Input should be an object"),
        ("{", "Invalid JSON"),
        ('{"label": "Dog"}', "threshold: Field required"),
        ('{"label": "Dog", "threshold": "0.25"}', "threshold: Input should be a valid number"),
        ('{"label": "Dog", "threshold": 1}', "threshold: Input should be less than 1"),
        ('{"label": "Dog", "threshold": 0}', "threshold: Input should be greater than 0"),
        ('{"label": "Dog", "threshold": NaN}', "threshold: Input should be"),
        ('{"label": "Dog", "threshold": 0.25, "sources": []}', "sources: Extra inputs are not permitted"),
        ('{"label": 1, "threshold": 0.25}', "label: Input should be a valid string"),
        (f'{{"label": "{201 * "x"}", "threshold": 0.25}}', "label: String should have at most 200 characters"),
        (b'{"label": "\xff", "threshold": 0.25}', "Invalid JSON"),
        (" " * MOST_BYTES + DOG, "these are "),
    ],
)
def test_what_is_no_threshold_says_what_is_wanted(taken, content, reason):
    command = taken(THRESHOLD, content)
    assert isinstance(command, InvalidCommand)
    assert command.text.startswith(f'{THRESHOLD}: want JSON such as {{"label": "Dog", "threshold": 0.4}}')
    assert reason in command.text
    assert len(command.text) < 500
    assert command.text.isprintable()


def test_a_retained_threshold_is_not_taken_and_a_retained_message_may_be_deleted(taken, caplog):
    assert taken(THRESHOLD, DOG, retained=True) is None
    assert caplog.messages == [f"{THRESHOLD}: is retained there, and not taken; publish it without that"]
    assert taken(THRESHOLD, "") is taken(LISTENING, "") is None


def test_commands_that_nobody_carries_out_do_not_fill_the_memory(caplog, monkeypatch):
    monkeypatch.setattr(command_topics, "MOST_WAITING", 3)
    asked = SimpleQueue()
    topics = CommandTopics(Topics("htsat-edge", {"yard": []}), {"yard": True}, asked, threading.Event())
    for content in (b"ON", b"ON", b"ON", b"OFF", b"OFF"):
        topics.take(LISTENING, content, False)
    assert [asked.get_nowait().listening for _ in range(asked.qsize())] == [True, False, False]
    assert caplog.messages == ["3 commands wait; the oldest are dropped"]


def publish(broker, topic, content, retain=False):
    broker._client.publish(topic, content, qos=1, retain=retain).wait_for_publish(20)


@pytest.fixture
def obey(broker, connect):
    """Starts an output that takes commands; returns it, and what is asked for."""

    def begin(listening, **settings):
        asked = SimpleQueue()
        output = connect(commands=True, before=lambda one: one.accept(listening, asked, threading.Event()), **settings)
        return output, asked

    return begin


def test_commands_come_through_a_broker_and_states_go_there(broker, obey, wait_for, caplog):
    caplog.set_level(logging.WARNING)
    publish(broker, LISTENING, "OFF", retain=True)
    output, asked = obey({"yard": True, "gate": False})
    assert asked.get(timeout=20) == SetListening("yard", False, "MQTT")  # what is retained comes at the connection
    wait_for(lambda: broker.last("htsat-edge/yard/listening") == "ON")  # until it is carried out
    assert broker.last("htsat-edge/gate/listening") == "OFF"
    output.offer(SourcePaused(source="yard", time=None, text="paused by MQTT"))
    wait_for(lambda: broker.last("htsat-edge/yard/listening") == "OFF")
    output.offer(SourceResumed(source="gate", time=None, text="resumed by MQTT"))
    wait_for(lambda: broker.last("htsat-edge/gate/listening") == "ON")
    publish(broker, "htsat-edge/gate/threshold/set", DOG)
    assert asked.get(timeout=20) == SetThreshold("gate", "Dog", 0.25, "MQTT")
    publish(broker, "htsat-edge/gte/threshold/set", DOG)
    assert asked.get(timeout=20) == InvalidCommand("gte: there is no such source, meant gate?")
    broker.stop()
    broker.heard.clear()
    broker.start()
    wait_for(lambda: broker.last("htsat-edge/gate/listening") == "ON")
    assert broker.last("htsat-edge/yard/listening") == "OFF"
    publish(broker, "htsat-edge/gate/listening/set", "OFF")
    assert asked.get(timeout=20) == SetListening("gate", False, "MQTT")  # and not once more what is retained


def test_without_the_option_nothing_is_taken(broker, connect, wait_for):
    heard = []

    def watch(output):
        output._client.paho.on_message = lambda *given: heard.append(given[2].topic) or output._on_message(*given)

    publish(broker, LISTENING, "OFF", retain=True)
    connect(before=watch)
    wait_for(lambda: heard)  # it has subscribed
    publish(broker, "htsat-edge/status", "offline")  # comes after what is retained
    wait_for(lambda: [at for topic, at in broker.heard if topic == "htsat-edge/status"][-2:] == ["offline", "online"])
    assert set(heard) == {"htsat-edge/status"}
    assert broker.last("htsat-edge/yard/listening") is None
