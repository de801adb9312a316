"""Feeds, and a virtual microphone: PulseAudio, into which recordings are played and from which PortAudio records."""

import os
import shutil
import subprocess
import threading

import pytest

from htsat_edge.runtime.daemon.sources.feed import Feed


class VirtualMicrophone:
    """A sink into which recordings are played; its monitor is ALSA's default input, and one whose name is no UTF-8."""

    def __init__(self, folder, wait_for):
        socket = folder / "native"
        self._wait_for = wait_for
        (folder / "alsa.conf").write_bytes(
            b"</usr/share/alsa/alsa.conf>\npcm.!default { type pulse }\nctl.!default { type pulse }\n"
            b'pcm."K\xfcche" { type pulse hint { show on description x } }\n'
        )
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(folder),
            "HOME": str(folder),
            "PULSE_SERVER": f"unix:{socket}",
            "ALSA_CONFIG_PATH": str(folder / "alsa.conf"),
        }
        options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes"]
        options += ["--log-level=error", f"--load=module-native-protocol-unix socket={socket} auth-anonymous=1"]
        self._server = subprocess.Popen(["pulseaudio", *options], env=self.environment, stderr=subprocess.DEVNULL)
        wait_for(socket.exists)
        self.plug()

    def plug(self):
        self._sink = self._ask("load-module", "module-null-sink", "sink_name=virtual", "rate=48000").strip()
        self._ask("set-default-source", "virtual.monitor")

    def unplug(self):
        self._ask("unload-module", self._sink)

    def play(self, path):
        """Begin to play a recording; return what ends it."""
        player = subprocess.Popen(["paplay", "--device=virtual", path], env=self.environment)
        self._wait_for(lambda: self._ask("list", "short", "sink-inputs").strip())

        def end():
            player.kill()
            player.wait()
            self._wait_for(lambda: not self._ask("list", "short", "sink-inputs").strip())

        return end

    def close(self):
        self._server.terminate()
        self._server.wait()

    def _ask(self, *command):
        asked = subprocess.run(["pactl", *command], env=self.environment, check=True, capture_output=True, text=True)
        return asked.stdout


@pytest.fixture(scope="module")
def microphone(tmp_path_factory, wait_for):
    if not all(map(shutil.which, ("pulseaudio", "pactl", "paplay"))):
        pytest.skip("needs pulseaudio, pulseaudio-utils, libasound2-plugins: sudo apt install them")
    made = VirtualMicrophone(tmp_path_factory.mktemp("pulse"), wait_for)
    yield made
    made.close()


@pytest.fixture
def plug_in(tmp_path):
    """Plugs a sound card in, as /sys/class/sound has it; its class folder is `plug_in.cards`."""

    def plug(number, name, usb=None):
        interface = tmp_path / "devices" / f"card{number}" / "1-2:1.0"
        (interface / "sound").mkdir(parents=True)
        (interface / "sound" / "id").write_text(f"{name}\n")
        (interface / "sound" / "device").symlink_to(interface)
        if usb:
            for file, half in zip(("idVendor", "idProduct"), usb.split(":"), strict=True):
                (interface.parent / file).write_text(f"{half}\n")
        (plug.cards / f"card{number}").symlink_to(interface / "sound")
        (plug.cards / f"controlC{number}").symlink_to(interface / "sound")

    plug.cards = tmp_path / "class"
    plug.cards.mkdir()
    return plug


@pytest.fixture
def cards(plug_in):
    """Three sound cards as /sys/class/sound has them."""
    plug_in(0, "tegra")
    plug_in(2, "Device", "0d8c:0014")
    plug_in(3, "ArrayUAC10", "2886:0018")
    return plug_in.cards


@pytest.fixture
def news():
    return threading.Event()


@pytest.fixture
def feed(news):
    return Feed("yard", news, live=True)


@pytest.fixture
def read_all(feed, news):
    """Returns what the feed gives until it ends; what it reports goes into `reported`."""

    def read(reported=None):
        found, reported = [], [] if reported is None else reported
        while not feed.ended:
            item = feed.read()
            if item is not None:
                found.append(item)
            else:
                news.wait(0.05)
                news.clear()
            reported.extend(feed.notices())
        return found

    return read


@pytest.fixture
def start():
    """Starts a source, and stops it after the test."""
    started = []

    def begin(source):
        started.append(source)
        source.start()
        return source

    yield begin
    for source in started:
        source.stop()
