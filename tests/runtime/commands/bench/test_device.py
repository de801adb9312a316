"""What a bench reads of the machine."""

import sys
import types

from htsat_edge.runtime.commands.bench.device import Power, clock_mhz, processor, read_device


def test_a_board_has_a_name(tmp_path):
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    assert processor(tmp_path / "model", tmp_path / "none") == "NVIDIA Jetson Orin Nano Developer Kit"


def test_a_pc_has_the_name_of_its_processor(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: AMD EPYC 9755\n")
    assert processor(tmp_path / "none", tmp_path / "cpuinfo") == "AMD EPYC 9755"
    assert processor(tmp_path / "none", tmp_path / "none") == read_device(None, None, []).machine


def test_clocks_are_read_where_the_system_reports_them(tmp_path):
    assert clock_mhz(tmp_path) is None
    assert read_device(0.123, None, [], tmp_path).clock_mhz == {}
    (tmp_path / "scaling_cur_freq").write_text("729600\n")
    (tmp_path / "cpuinfo_max_freq").write_text("1510400\n")
    (tmp_path / "scaling_governor").write_text("schedutil\n")
    assert clock_mhz(tmp_path) == 729.6
    device = read_device(0.123, 7.456, [729.6, 1510.4, 1510.4], tmp_path)
    assert device.clock_mhz == {"median": 1510.4, "max": 1510.4}
    assert (device.governor, device.load_before, device.power_w) == ("schedutil", 0.12, 7.46)


def jtop_of(readings, monkeypatch):
    """Put a `jtop` module in place, as jetson-stats has it, on a board with these readings."""

    class JtopException(Exception):
        pass

    class jtop:
        def __enter__(self):
            if readings is None:
                raise JtopException("The jtop.service is not active")
            self._left = list(readings)
            return self

        def __exit__(self, *error):
            pass

        def ok(self):
            return bool(self._left)

        @property
        def power(self):
            return {"rail": {}, "tot": {"power": self._left.pop(0)}}

    module = types.ModuleType("jtop")
    module.jtop, module.JtopException = jtop, JtopException
    monkeypatch.setitem(sys.modules, "jtop", module)


def test_power_is_the_mean_of_what_jtop_reads(monkeypatch):
    jtop_of([5000, 7000], monkeypatch)
    power = Power()
    with power:
        power._thread.join()
    assert power.watts == 6.0


def test_without_jtop_or_its_service_power_is_not_measured(monkeypatch):
    with Power() as power:
        pass
    assert power.watts is None
    jtop_of(None, monkeypatch)
    with Power() as power:
        power._thread.join()
    assert power.watts is None
