"""The brokers of deploy/mosquitto: TLS, an account for each device, and a bridge that keeps what it has."""

import shutil
import subprocess
import threading

import pytest

paho = pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt")
pytestmark = pytest.mark.skipif(
    shutil.which("mosquitto_passwd") is None, reason="needs mosquitto: sudo apt install mosquitto"
)
ACCOUNTS = ("barn", "gate", "collector", "homeassistant")


@pytest.fixture(scope="module")
def certificates(certificate, tmp_path_factory):
    """A folder as /etc/mosquitto/certs."""
    folder = tmp_path_factory.mktemp("certs")
    for name, file in {"broker.crt": certificate.crt, "broker.key": certificate.key, "ca.crt": certificate.crt}.items():
        shutil.copy(file, folder / name)
    return folder


class RunningBroker:
    """mosquitto with one of our files, in which only places and ports are others."""

    def __init__(self, folder, source, changes, port, start_mosquitto):
        text = source.read_text()
        for old, new in {**changes, "/etc/mosquitto": str(folder)}.items():
            assert old in text or old.startswith("/"), f"{source.name} does not say {old}"
            text = text.replace(old, new)
        self.port, self._start, self._config = port, start_mosquitto, folder / "mosquitto.conf"
        (folder / "conf.d").mkdir()
        (folder / "conf.d" / "htsat-edge.conf").write_text(text)
        package = f"persistence true\npersistence_location {folder}/\ninclude_dir {folder}/conf.d\n"  # as Debian's
        self._config.write_text(f"user root\n{package}")
        self.start()

    def start(self):
        self._process = self._start(self._config, self.port)

    def stop(self):
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def fleet(tmp_path, certificates, free_port, start_mosquitto, root):
    """The broker of a fleet, by broker.conf and acl."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    shutil.copytree(certificates, folder / "certs")
    shutil.copy(root / "deploy" / "mosquitto" / "acl", folder / "acl")
    for number, name in enumerate(ACCOUNTS):
        create = ["-c"] if not number else []
        subprocess.run(["mosquitto_passwd", "-b", *create, folder / "passwd", name, f"of {name}"], check=True)
    for name in ("acl", "passwd"):
        (folder / name).chmod(0o600)
    port = free_port()
    source = root / "deploy" / "mosquitto" / "broker.conf"
    running = RunningBroker(folder, source, {"listener 8883": f"listener {port} 127.0.0.1"}, port, start_mosquitto)
    yield running
    running.stop()


@pytest.fixture
def client(certificates, wait_for):
    """Connects to a broker; `heard` is what comes on the topics that it subscribes to."""
    connected = []

    def connect(port, user=None, topics=(), session=""):
        one = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=session, clean_session=not session)
        one.heard, one.reason, subscribed = [], [], threading.Event()
        one.on_message = lambda _, __, message: one.heard.append((message.topic, message.payload.decode()))
        one.on_connect = lambda _, __, ___, reason, ____: one.reason.append(reason)
        one.on_subscribe = lambda *_: subscribed.set()
        if user is not None:
            one.tls_set(str(certificates / "ca.crt"))
            one.username_pw_set(user, f"of {user}" if user in ACCOUNTS else None)
        one.connect("localhost", port)
        one.loop_start()
        connected.append(one)
        wait_for(lambda: one.reason)
        if topics:
            one.subscribe([(topic, 1) for topic in topics])
            assert subscribed.wait(20)
        return one

    yield connect
    for one in connected:
        one.disconnect()
        one.loop_stop()


def publish(client, topic, text):
    client.publish(topic, text, qos=1).wait_for_publish(20)


def test_a_device_publishes_only_under_its_own_topic(fleet, client, wait_for):
    collector = client(fleet.port, "collector", ["#"])
    barn, gate = client(fleet.port, "barn", ["#"]), client(fleet.port, "gate", ["#"])
    for topic in ("htsat-edge/gate/messages", "htsat-edge", "homeassistant/status", "other", "htsat-edge/barn2"):
        publish(barn, topic, "forged")
    publish(barn, "htsat-edge/barn/messages", "1")
    publish(gate, "htsat-edge/gate", "2")
    wait_for(lambda: len(collector.heard) >= 2)
    assert collector.heard == [("htsat-edge/barn/messages", "1"), ("htsat-edge/gate", "2")]
    publish(barn, "htsat-edge/barn/last", "3")
    wait_for(lambda: ("htsat-edge/barn/last", "3") in barn.heard)
    assert not any("gate" in topic for topic, _ in barn.heard), "a device hears only of itself"


def test_the_collector_only_reads_and_home_assistant_commands(fleet, client, wait_for):
    barn = client(fleet.port, "barn", ["htsat-edge/barn/#", "homeassistant/status"])
    publish(client(fleet.port, "collector"), "htsat-edge/barn/yard/listening/set", "OFF")
    home = client(fleet.port, "homeassistant", ["homeassistant/#"])
    publish(home, "htsat-edge/barn/yard/listening/set", "ON")
    wait_for(lambda: barn.heard)
    assert barn.heard == [("htsat-edge/barn/yard/listening/set", "ON")]
    publish(barn, "homeassistant/device/barn/config", "{}")
    wait_for(lambda: home.heard)
    assert home.heard == [("homeassistant/device/barn/config", "{}")]


def test_a_device_goes_on_after_a_message_that_is_too_long(fleet, client, wait_for):
    collector, barn = client(fleet.port, "collector", ["htsat-edge/#"]), client(fleet.port, "barn")
    for text in ("1", "x" * 300_000, "2"):
        publish(barn, "htsat-edge/barn/messages", text)
    wait_for(lambda: len(collector.heard) >= 2)
    assert [text for _, text in collector.heard] == ["1", "2"]
    assert len(barn.reason) == 1, "was connected once"


@pytest.mark.parametrize("user", ["stranger", ""])
def test_nobody_else_comes_in(fleet, client, user):
    assert client(fleet.port, user).reason[0].is_failure


def test_without_tls_nobody_comes_in(fleet):
    one = paho.Client(paho.CallbackAPIVersion.VERSION2)
    one.username_pw_set("barn", "of barn")
    reasons = []
    one.on_connect = lambda _, __, ___, reason, ____: reasons.append(reason)
    one.connect("localhost", fleet.port)
    for _ in range(20):
        if one.loop(0.1):
            break
    assert not reasons


def test_a_bridge_keeps_what_it_has_while_the_fleets_broker_is_away(
    fleet, client, certificates, tmp_path, free_port, start_mosquitto, root, wait_for
):
    """And what the collector has missed meanwhile comes to it, in order and once; commands come down."""
    folder, port = tmp_path / "device", free_port()
    folder.mkdir()
    shutil.copytree(certificates, folder / "certs")
    changes = {
        "listener 1883 127.0.0.1": f"listener {port} 127.0.0.1",
        "broker.example.org:8883": f"localhost:{fleet.port}\nrestart_timeout 1",
        "CHANGE-ME": "of barn",
    }
    bridge = RunningBroker(folder, root / "deploy" / "mosquitto" / "bridge.conf", changes, port, start_mosquitto)
    try:
        collector = client(fleet.port, "collector", ["htsat-edge/#"], session="htsat-edge-collect")
        collector.reconnect_delay_set(1, 1)
        device = client(port, topics=["htsat-edge/+/+/listening/set"])
        publish(device, "htsat-edge/barn/messages", "1")
        publish(device, "htsat-edge/gate/messages", "not barn's")
        wait_for(lambda: collector.heard)
        publish(client(fleet.port, "homeassistant"), "htsat-edge/barn/yard/listening/set", "OFF")
        wait_for(lambda: device.heard)
        assert device.heard == [("htsat-edge/barn/yard/listening/set", "OFF")]
        fleet.stop()
        for number in range(2, 12):
            publish(device, "htsat-edge/barn/messages", str(number))
        fleet.start()
        wait_for(lambda: ("htsat-edge/barn/messages", "11") in collector.heard)
        numbers = [text for topic, text in collector.heard if topic.endswith("messages")]
        assert [*dict.fromkeys(numbers)] == [str(number) for number in range(1, 12)]
    finally:
        bridge.stop()
