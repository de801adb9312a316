"""Each archive is written by the book of its format, in a few lines, and read back."""

import gzip
import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import soundfile

from htsat_edge.htsat.archives import decode, pcm, read_member, read_raw

SAMPLES = np.linspace(-0.9, 0.9, 400, dtype=np.float32)
PCM = (SAMPLES * 32768).astype("<i2")


def wav(samples=SAMPLES, rate=8000):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def assert_recording(found, rate=8000, atol=1e-4):
    samples, its_rate = found
    assert its_rate == rate
    np.testing.assert_allclose(samples, SAMPLES, atol=atol)


@pytest.mark.parametrize("suffix", [".zip", ".wz", ".pk3"])
def test_zip(suffix):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sounds/rain.wav", wav())
    assert_recording(read_member(f"base{suffix}", file.getvalue(), "sounds/rain.wav"))


def qt_resource(compressed, version):
    """A root with one folder `a`, which holds `x.wav` and `y.wav`."""
    names = b""
    offsets = {}
    for name in ("a", "x.wav", "y.wav"):
        offsets[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    contents, places = b"", {}
    for name, samples in (("x.wav", SAMPLES[::-1].copy()), ("y.wav", SAMPLES)):
        places[name] = len(contents)
        content = wav(samples)
        content = struct.pack(">I", len(content)) + zlib.compress(content) if compressed else content
        contents += struct.pack(">I", len(content)) + content
    later = b"" if version == 1 else bytes(8)
    nodes = [struct.pack(">IHII", 0, 2, 1, 1), struct.pack(">IHII", offsets["a"], 2, 2, 2)]
    nodes += [struct.pack(">IHII", offsets[n], int(compressed), 0, places[n]) for n in ("x.wav", "y.wav")]
    tree = b"".join(node + later for node in nodes)
    head = 20
    at = struct.pack(">4I", version, head, head + len(tree), head + len(tree) + len(contents))
    return b"qres" + at + tree + contents + names


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_qt_resource(compressed, version):
    data = qt_resource(compressed, version)
    assert_recording(read_member("memory.rcc", data, "a/y.wav"))
    with pytest.raises(KeyError):
        read_member("memory.rcc", data, "a/z.wav")


def test_openttd_catalogue():
    first, second = wav(SAMPLES[::-1].copy()), wav()
    names = (b"\x05Rain\0", b"\x05Wind\0")
    table = struct.pack("<4I", 16, len(first), 16 + len(names[0]) + len(first), len(second))
    assert_recording(read_member("opensfx.cat", table + names[0] + first + names[1] + second, "01"))


def openclonk_group(entries):
    """Entries of (name, content, is a group)."""
    header = bytearray(204)
    struct.pack_into("<i", header, 36, len(entries))
    header[0:204:3], header[2:204:3] = header[2:204:3], header[0:204:3]
    table, contents = b"", b""
    for name, content, is_group in entries:
        place = struct.pack("<5i", 0, is_group, len(content), 0, len(contents))
        table += name.encode("latin-1").ljust(260, b"\0") + place.ljust(56, b"\0")
        contents += content
    return bytes(byte ^ 237 for byte in header) + table + contents


def test_openclonk_group():
    inner = openclonk_group([("moo.wav", wav(), False)])
    group = openclonk_group([("moo.wav", b"another", False), ("Animals.ocg", inner, True)])
    data = b"\x1e\x8c" + gzip.compress(group)[2:]
    assert_recording(read_member("Sound.ocg", data, "Animals.ocg/moo.wav"))
    with pytest.raises(KeyError):
        read_member("Sound.ocg", data, "Animals.ocg/baa.wav")


def soundfont_header(name, start, end, rate, kind=1):
    return name.encode().ljust(20, b"\0") + struct.pack("<5IBbHH", start, end, 0, 0, rate, 60, 0, 0, kind)


def test_soundfont():
    samples = PCM.tobytes() + PCM[::-1].tobytes()
    headers = [
        soundfont_header("Flute", 400, 800, 8000),
        soundfont_header("In ROM", 0, 400, 8000, kind=0x8001),
        soundfont_header("Flute", 0, 400, 22050),
        soundfont_header("EOS", 0, 0, 0),
    ]
    chunk = b"shdr" + struct.pack("<I", 46 * len(headers)) + b"".join(headers)
    data = b"RIFF....sfbkLIST....sdtasmpl" + struct.pack("<I", len(samples)) + samples + b"LIST....pdta" + chunk
    assert_recording(read_member("gm.sf2", data, "Flute~"), 22050)
    with pytest.raises(KeyError):
        read_member("gm.sf2", data, "In ROM")


@pytest.mark.parametrize(
    ("mode", "samples", "atol"),
    [
        (1, PCM.tobytes(), 1e-4),
        (3, (PCM.astype(np.int32) + 32768).astype("<u2").tobytes(), 1e-4),
        (0, (SAMPLES * 128).astype("i1").tobytes(), 0.01),
        (2, ((SAMPLES * 128).astype(np.int16) + 128).astype("u1").tobytes(), 0.01),
    ],
)
def test_gravis_patch(mode, samples, atol):
    def sample(content, its_mode):
        header = bytearray(96)
        struct.pack_into("<I", header, 8, len(content))
        struct.pack_into("<H", header, 20, 11025)
        header[55] = its_mode
        return bytes(header) + content

    data = b"GF1PATCH110".ljust(239, b"\0") + sample(b"\1\2\3", 0) + sample(samples, mode)
    assert_recording(read_member("oboe.pat", data, "01"), 11025, atol)


def test_raw_and_stereo():
    assert_recording(read_raw(PCM.tobytes()), 16000)
    assert_recording(decode(wav(np.column_stack([SAMPLES * 0.5, SAMPLES * 1.5 * 0.6]), 8000)), atol=0.3)
    np.testing.assert_allclose(pcm(b"\x00\x80\xff\x7f\x01", "<i2"), [-1, 1], atol=1e-4)  # the odd byte is left


@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.sf2", "x.rcc", "x.ocg", "x.cat", "x.pat"])
def test_damage_is_a_value_error(name):
    for data in (b"", b"damaged" * 50):
        with pytest.raises(ValueError):  # noqa: PT011
            read_member(name, data, "0")
