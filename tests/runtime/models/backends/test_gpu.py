import pytest

from htsat_edge.runtime.models.backends.gpu import is_there


@pytest.mark.parametrize(
    ("files", "there"),
    [
        ({}, False),
        ({"pci/0000:01:00.0/vendor": "0x10de\n", "pci/0000:01:00.0/class": "0x030000\n"}, True),
        ({"pci/0000:01:00.0/vendor": "0x10de\n", "pci/0000:01:00.0/class": "0x030200\n"}, True),  # without a display
        ({"pci/0000:01:00.1/vendor": "0x10de\n", "pci/0000:01:00.1/class": "0x040300\n"}, False),  # a card's sound
        ({"pci/0000:00:02.0/vendor": "0x8086\n", "pci/0000:00:02.0/class": "0x030000\n", "pci/x/y": ""}, False),
        ({"board": "nvidia,p3768-0000\0nvidia,tegra234\0"}, True),
        ({"board": "raspberrypi,5-model-b\0brcm,bcm2712\0"}, False),
        ({"dxg": ""}, True),
    ],
)
def test_whether_there_is_a_gpu(files, there, tmp_path):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert is_there(tmp_path / "pci", tmp_path / "board", tmp_path / "dxg") is there
