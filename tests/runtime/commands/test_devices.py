"""How inputs are printed; that they are found is in ../daemon/sources."""

import re

from htsat_edge.runtime.commands.devices import print_inputs
from htsat_edge.runtime.daemon.sources.devices import Input

MICROPHONE = Input(
    number=2,
    name="USB Microphone: Audio (hw:1,0)",
    default=True,
    channels=1,
    sample_rate=48_000,
    stable_id="usb:0d8c:0014",
    level_dbfs=-42.4,
    error=None,
)
BROKEN = Input(
    number=11,
    name="HDA [Intel]\x1b[2J",
    default=False,
    channels=2,
    sample_rate=44_100,
    stable_id=None,
    level_dbfs=None,
    error="Device unavailable",
)


def test_a_table(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    print_inputs([MICROPHONE, BROKEN])
    header, *rows = [re.split(r"\s{2,}", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert header == ["#", "name", "channels", "Hz", "stable id", "level"]
    assert rows == [
        ["2", "USB Microphone: Audio (hw:1,0) (default)", "1", "48000", "usb:0d8c:0014", "-42 dBFS"],
        ["11", r"HDA [Intel]\x1b[2J", "2", "44100", "Device unavailable"],
    ]


def test_no_input_says_what_to_do(capsys):
    print_inputs([])
    assert capsys.readouterr().out.startswith("no inputs: plug a microphone in; ")
