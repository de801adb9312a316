"""Whether a broker lets an account publish under a topic."""

from __future__ import annotations

import secrets
from queue import Empty, SimpleQueue
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config.broker import BrokerConfig
from htsat_edge.runtime.daemon.outputs.mqtt.broker import BrokerClient


def why_refused(settings: BrokerConfig, topic: str, patience_s: float) -> str:
    """Return why a broker drops what is published under a topic; nothing where it does not, or does not say.

    Under MQTT 3.1.1 a broker confirms also what it drops; under 5 it says so. It gets an empty message at TOPIC/check.
    """
    client = BrokerClient(settings, f"htsat-edge-check-{secrets.token_hex(4)}", mqtt_5=True)
    answers = SimpleQueue[Any]()
    client.paho.on_publish = lambda _, __, ___, reason, ____: answers.put(reason)
    try:
        client.start()
        client.await_connection(patience_s)
        client.paho.publish(f"{topic}/check", qos=1)
        reason = answers.get(timeout=patience_s)
    except (ConnectionError, HtsatEdgeError, Empty):  # it does not speak MQTT 5, or something is gone meanwhile
        return ""
    finally:
        client.stop()
    if not reason.is_failure:
        return ""
    return (
        f"the broker does not let this account publish under {topic} ({reason}), and drops what comes: set "
        "outputs.mqtt.topic to one that it may use; with deploy/mosquitto/acl that is htsat-edge/USERNAME"
    )
