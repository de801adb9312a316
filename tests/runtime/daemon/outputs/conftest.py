"""Outputs that publish to a real broker."""

import threading

import pytest

from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs import sender
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt


@pytest.fixture
def connect(broker, monkeypatch):
    """Starts an output that publishes to the broker, after `before` was called with it."""
    started = []

    def begin(
        sources=("yard", "gate"),
        labels=("Dog", "Cattle, bovinae"),
        levels=(),
        session="session",
        before=lambda _: None,
        **settings,
    ):
        settings = {"off_delay_s": 0, "port": broker.port, **settings}
        config = MqttConfig(host="127.0.0.1", **settings)
        output = Mqtt(config, dict.fromkeys(sources, labels), dict(levels), session)
        output._client.paho.reconnect_delay_set(0.05, 0.1)
        before(output)
        output.start()
        started.append(output)
        return output

    yield begin
    monkeypatch.setattr(sender, "CLOSE_S", 0.2)  # nobody waits for one whose connection the test has ended
    for output in started:
        output.close()


@pytest.fixture
def retained(broker):
    """Returns the topics whose last message the broker keeps for those who subscribe later."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    def find():
        topics, all_came = set(), threading.Event()

        def note(_, __, message):
            topics.add(message.topic) if message.retain else all_came.set()

        client = paho.Client(CallbackAPIVersion.VERSION2)
        client.on_message = note
        client.on_subscribe = lambda *_: client.publish("last", qos=1)
        client.connect("127.0.0.1", broker.port)
        client.subscribe("#", qos=1)
        client.loop_start()
        assert all_came.wait(20)
        client.disconnect()
        client.loop_stop()
        return topics

    return find
