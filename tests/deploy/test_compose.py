"""The compose files: what they name is there, and each service may do little."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.outputs.sender import CLOSE_S

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = [DEPLOY / "compose.yaml", DEPLOY / "compose.jetson.yaml"]


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load(FILES[0].read_text())["services"]


@pytest.fixture(scope="module")
def compose():
    """Runs docker compose config, with variables."""
    if not shutil.which("docker") or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        pytest.skip("needs docker compose")

    def run(*files, **variables):
        named = [word for file in files for word in ("--file", file)]
        command = ["docker", "compose", *named, "config", "--format", "json"]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables})

    return run


def test_each_service_may_do_little(services):
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service
        assert "cap_add" not in service
        # Without a host, a port is everybody's: the page's alone, which wants a password.
        assert [port for port in service["ports"] if not port.startswith("127.0.0.1:")] in ([], ["8480:8480"])


def test_what_is_mounted_is_there(services):
    binds = {}
    for service in services.values():
        for volume in service["volumes"]:
            source, target = (volume["source"], volume["target"]) if isinstance(volume, dict) else volume.split(":")[:2]
            binds[target] = source
    assert binds["/etc/htsat-edge"] == "${CONFIG:-./config}"
    assert (DEPLOY / "config" / "detector.yaml").is_file()
    assert (DEPLOY / binds["/mosquitto/config/mosquitto.conf"]).is_file()
    named = {source for source in binds.values() if not source.startswith((".", "/", "$"))}
    assert named == set(yaml.safe_load(FILES[0].read_text())["volumes"])


def test_volumes_and_ports_are_those_of_the_image(services, image):
    detector = services["detector"]
    mounted = [volume.split(":")[1] for volume in detector["volumes"] if isinstance(volume, str)]
    assert set(image.last("VOLUME")) <= set(mounted)
    assert [port.split(":")[-1] for port in detector["ports"]] == image.last("EXPOSE").split()


def test_a_microphone_that_is_plugged_in_again_is_in_reach(services):
    """`devices` would give those of the start alone."""
    detector = services["detector"]
    assert "/dev/snd:/dev/snd" in detector["volumes"]
    assert detector["device_cgroup_rules"] == ["c 116:* rw"]
    assert "devices" not in detector


def test_the_daemon_has_time_to_end_before_its_broker_which_is_the_one_beside_it(services):
    """Stopped together, the last message was not delivered, and the daemon ended with 1."""
    assert services["detector"]["depends_on"] == ["broker"]
    assert int(services["detector"]["stop_grace_period"].rstrip("s")) > CLOSE_S
    assert read_yaml(DEPLOY / "config" / "detector.yaml", DaemonConfig).outputs.mqtt.host in services


def test_a_jetson_has_what_its_build_takes(stages):
    detector = yaml.safe_load(FILES[1].read_text())["services"]["detector"]
    taken = {text.partition("=")[0] for stage in stages for text in stage.all("ARG")}
    assert set(detector["build"]["args"]) == taken
    assert detector["runtime"] == "nvidia"


def test_docker_compose_reads_them(compose):
    done = compose(*FILES, RENDER_GID="104", CONFIG="/etc/mine")
    assert done.returncode == 0, done.stderr
    detector = json.loads(done.stdout)["services"]["detector"]
    assert sorted(detector["group_add"]) == ["104", "29"]
    assert detector["volumes"][0]["source"] == "/etc/mine"
    missing = compose(*FILES)
    assert missing.returncode != 0
    assert "RENDER_GID is missing a value: getent group render" in missing.stderr


def test_mosquitto_takes_its_configuration(tmp_path, port, start_mosquitto):
    text = (DEPLOY / "mosquitto.conf").read_text()
    for there, here in (("listener 1883", f"listener {port}"), ("/mosquitto/data/", f"{tmp_path}/")):
        assert there in text
        text = text.replace(there, here)
    file = tmp_path / "mosquitto.conf"
    file.write_text(f"{text}user root\n" if os.geteuid() == 0 else text)
    with start_mosquitto(file, port) as process:
        process.terminate()
    assert (tmp_path / "mosquitto.db").is_file()
    assert "Error" not in (tmp_path / "mosquitto.log").read_text()
