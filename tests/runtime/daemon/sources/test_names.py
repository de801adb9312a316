"""Names of sound devices, in any encoding, as sounddevice reads them."""

from types import SimpleNamespace

import pytest

from htsat_edge.runtime.daemon.sources.names import Name, read_name, tolerate_names


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"USB Audio", "USB Audio"),
        ("K\xfcche \u5f55\u97f3".encode(), "K\xfcche \u5f55\u97f3"),
        (b"K\xfcche", "K\xfcche"),
    ],
)
def test_a_name_is_utf_8_or_latin_1(content, text, tmp_path):
    assert Name(content).decode() == Name(content).decode("utf-8") == text
    (tmp_path / "id").write_bytes(content + b"\n")
    assert read_name(tmp_path / "id") == text


@pytest.mark.parametrize("later", [True, False])
def test_sounddevice_reads_all_names_whatever_its_version(later):
    ffi = SimpleNamespace(string=bytes, NULL=0)
    sd = SimpleNamespace(_ffi=ffi, **({"_ffi_string": ffi.string} if later else {}))
    for _ in range(2):
        tolerate_names(sd)
        for string in (sd._ffi.string, sd._ffi_string):
            assert string(b"K\xfcche").decode("utf-8") == "K\xfcche"
        assert sd._ffi.NULL == 0
    tolerate_names(fake := SimpleNamespace())
    assert vars(fake) == {}
