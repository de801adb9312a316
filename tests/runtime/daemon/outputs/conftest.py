"""Outputs that publish to a real broker."""

import pytest

from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt


@pytest.fixture
def connect(broker):
    """Starts an output that publishes to the broker, after `before` was called with it."""
    started = []

    def begin(
        sources=("yard", "gate"),
        labels=("Dog", "Cattle, bovinae"),
        levels=(),
        session="",
        before=lambda _: None,
        **settings,
    ):
        settings = {"off_delay_s": 0, "port": broker.port, **settings}
        config = MqttConfig(host="127.0.0.1", **settings)
        output = Mqtt(config, dict.fromkeys(sources, labels), dict(levels), session)
        before(output)
        output.start()
        started.append(output)
        return output

    yield begin
    for output in started:
        output.close()
