"""A real broker that is killed, and a real HTTP server that is slow and fails."""

import json
import socket
import time
import urllib.error
import urllib.request

import pytest
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import Metrics, Mqtt, Secret, Webhook, slug
from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer
from htsat_edge.runtime.daemon.outputs.mqtt import Mqtt as MqttOutput
from htsat_edge.runtime.daemon.outputs.webhook import Webhook as WebhookOutput


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr("htsat_edge.runtime.daemon.outputs.LONGEST_PAUSE_S", 0.2)


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def event(number, kind="start", source="yard", label="Dog"):
    return {"type": kind, "source": source, "label": label, "onset": float(number)}


def make_mqtt(broker, sources=("yard", "gate"), labels=("Dog", "Cattle, bovinae"), **settings):
    output = MqttOutput(Mqtt(host="127.0.0.1", port=broker.port, **settings), sources, labels)
    output.start()
    return output


def test_events_states_and_sensors(broker):
    output = make_mqtt(broker)
    output.offer(event(1))
    output.offer(event(1, "end"))
    output.offer(event(2, label="Cattle, bovinae"))
    output.offer({"type": "gap", "source": "yard", "onset": 3.0, "offset": 4.0})
    wait_for(lambda: len(broker.all("htsat-edge/yard/event")) == 4)
    assert broker.all("htsat-edge/yard/event")[0] == event(1)
    wait_for(lambda: broker.last("htsat-edge/yard/cattle_bovinae") == "ON")
    assert broker.last("htsat-edge/yard/dog") == "OFF"
    assert broker.last("htsat-edge/gate/dog") == "OFF"  # one source's sensors never change another's
    assert broker.last("htsat-edge/status") == "online"
    sensor = json.loads(broker.last("homeassistant/binary_sensor/htsat_edge_yard/cattle_bovinae/config"))
    assert sensor["name"] == "Cattle, bovinae"
    assert sensor["state_topic"] == "htsat-edge/yard/cattle_bovinae"
    assert sensor["availability"] == [{"topic": "htsat-edge/status"}, {"topic": "htsat-edge/yard/status"}]
    assert sensor["unique_id"] == "htsat_edge_yard_cattle_bovinae"
    output.close()
    wait_for(lambda: broker.last("htsat-edge/status") == "offline")


def test_a_source_that_is_lost_is_not_available(broker):
    output = make_mqtt(broker)
    output.offer({"type": "status", "source": "yard", "state": "lost"})
    wait_for(lambda: broker.last("htsat-edge/yard/status") == "offline")
    assert broker.last("htsat-edge/gate/status") == "online"
    output.offer({"type": "status", "source": "yard", "state": "back"})
    wait_for(lambda: broker.last("htsat-edge/yard/status") == "online")
    output.close()


def test_a_broker_that_dies_under_load_gets_every_event_when_it_is_back(broker):
    output = make_mqtt(broker)
    for number in range(200):
        output.offer(event(number))
        if number == 60:
            wait_for(lambda: output.sent > 20)
            broker.kill()
        time.sleep(0.002)
    wait_for(lambda: output.failures > 0 or output.waiting > 50)
    broker.heard.clear()
    sent = output.sent
    broker.start()
    wait_for(lambda: output.sent == 200, 40)
    wait_for(lambda: broker.last("htsat-edge/yard/event") == json.dumps(event(199)))
    onsets = [line["onset"] for line in broker.all("htsat-edge/yard/event")]
    assert set(onsets) >= set(range(sent + 3, 200))  # what was on its way when it died may have arrived before
    assert output.dropped == 0
    assert broker.last("htsat-edge/status") == "online"  # and sensors are announced again to a broker that forgot
    assert broker.last("homeassistant/binary_sensor/htsat_edge_yard/dog/config")
    output.close()


def test_many_classes_are_announced_when_they_are_heard(broker):
    output = make_mqtt(broker, labels=[f"class {i}" for i in range(527)])
    output.offer(event(1, label="class 7"))
    wait_for(lambda: broker.last("htsat-edge/yard/class_7") == "ON")
    announced = [topic for topic, _ in broker.heard if topic.endswith("/config")]
    assert announced == ["homeassistant/binary_sensor/htsat_edge_yard/class_7/config"]
    output.close()


def test_without_discovery_and_with_a_password_of_its_own(broker, monkeypatch):
    monkeypatch.setenv("PW", "s3cret")
    output = make_mqtt(broker, topic="farm/ears", discovery=None, username="me", password=Secret(env="PW"))
    output.offer(event(1))
    wait_for(lambda: broker.last("farm/ears/yard/dog") == "ON")
    assert not any("homeassistant" in topic for topic, _ in broker.heard)
    output.close()


def test_a_broker_that_is_not_there_keeps_nobody_waiting():
    output = MqttOutput(Mqtt(host="127.0.0.1", port=free_port()), ["yard"], ["Dog"])
    output.start()
    begun = time.monotonic()
    for number in range(100):
        output.offer(event(number))
    assert time.monotonic() - begun < 0.5
    output.close()


def test_names_become_topics():
    assert slug("Cattle, bovinae") == "cattle_bovinae"
    assert slug("Höhle/+#") == "höhle"
    assert slug("厨房") == "厨房"
    assert slug("…") == "_"


def test_each_event_is_posted_once_in_order(server, monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cret")
    server.answers += [(200, 0), (503, 0), (500, 0), (429, 0), (200, 0)]
    output = WebhookOutput(Webhook(url=server.url, token=Secret(env="TOKEN")))
    output.start()
    for number in range(10):
        output.offer(event(number))
    wait_for(lambda: output.sent == 10)
    output.close()
    assert [content for content, _ in server.got] == [event(number) for number in range(10)]
    assert server.got[0][1]["Authorization"] == "Bearer s3cret"
    assert server.got[0][1]["Content-Type"] == "application/json"
    assert (output.failures, output.dropped) == (3, 0)


def test_what_the_server_refuses_for_good_is_lost_and_the_rest_goes_on(server, caplog):
    server.answers += [(200, 0), (400, 0), (200, 0)]
    output = WebhookOutput(Webhook(url=server.url))
    output.start()
    for number in range(3):
        output.offer(event(number))
    wait_for(lambda: output.sent == 2)
    output.close()
    assert [content["onset"] for content, _ in server.got] == [0, 2]
    assert output.dropped == 1
    assert "webhook 127.0.0.1: answered 400 Bad Request; 1 lines are lost" in caplog.text


def test_a_redirect_is_not_followed(server):
    server.answers += [(302, 0)]
    output = WebhookOutput(Webhook(url=server.url))
    output.start()
    output.offer(event(1))
    output.offer(event(2))
    wait_for(lambda: output.sent == 1)
    output.close()
    assert output.dropped == 1
    assert [content["onset"] for content, _ in server.got] == [2]


def test_a_server_that_hangs_is_given_up_and_asked_again(server):
    server.answers += [(200, 1.0), (200, 0)]
    output = WebhookOutput(Webhook(url=server.url, timeout_s=0.2))
    output.start()
    output.offer(event(1))
    wait_for(lambda: output.sent == 1)
    output.close()
    assert output.failures >= 1


def test_without_the_token_nothing_begins(monkeypatch):
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(HtsatEdgeError, match="the environment has no TOKEN"):
        WebhookOutput(Webhook(url="http://localhost", token=Secret(env="TOKEN"))).start()


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_health_over_http():
    from prometheus_client.core import GaugeMetricFamily

    port, state = free_port(), {"well": True}
    server = MetricsServer(
        Metrics(port=port),
        lambda: [GaugeMetricFamily("htsat_edge_test", "A test", value=3)],
        lambda: (state["well"], {"healthy": state["well"]}),
    )
    server.start()
    status, text = get(port, "/metrics")
    assert status == 200
    assert "htsat_edge_test 3.0" in text
    assert get(port, "/healthz") == (200, '{"healthy": true}')
    state["well"] = False
    assert get(port, "/healthz") == (503, '{"healthy": false}')
    assert get(port, "/")[0] == 404
    with pytest.raises(
        HtsatEdgeError, match=rf"outputs.metrics: 127.0.0.1:{port}: cannot be listened on: Address already"
    ):
        MetricsServer(Metrics(port=port), list, dict)
    server.close()
