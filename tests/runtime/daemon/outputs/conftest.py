"""Outputs that publish to a real broker."""

import pytest

from htsat_edge.runtime.daemon.config import MqttConfig
from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt


@pytest.fixture
def connect(broker):
    """Starts an output that publishes to the broker."""
    started = []

    def begin(sources=("yard", "gate"), labels=("Dog", "Cattle, bovinae"), levels=(), **settings):
        settings = {"off_delay_s": 0, "port": broker.port, **settings}
        output = Mqtt(MqttConfig(host="127.0.0.1", **settings), dict.fromkeys(sources, labels), dict(levels))
        output.start()
        started.append(output)
        return output

    yield begin
    for output in started:
        output.close()
