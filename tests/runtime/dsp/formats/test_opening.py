import numpy as np
import pytest

from htsat_edge.runtime.dsp.audio import SUFFIXES, AudioFile
from htsat_edge.runtime.dsp.formats import ffmpeg
from htsat_edge.runtime.dsp.formats.opening import SoundFileReader, open_reader

STEREO = ("-af", "pan=stereo|c0=c0|c1=0.3*c0")
LOSSLESS = {
    "x.wav": (),
    "s24.wav": ("-c:a", "pcm_s24le"),
    "u8.wav": ("-c:a", "pcm_u8"),
    "float.wav": ("-c:a", "pcm_f32le"),
    "mulaw.wav": ("-c:a", "pcm_mulaw"),
    "rf64.wav": ("-rf64", "always"),
    "stereo.wav": STEREO,
    "x.flac": (),
    "x.aiff": (),
    "x.w64": (),
    "x.wv": ("-c:a", "wavpack"),
    "x.caf": ("-c:a", "alac"),
    "alac.m4a": ("-c:a", "alac"),
    "flac.mkv": ("-c:a", "flac"),
}
LOSSY = {
    "32k.mp3": ("-ar", "44100", "-b:a", "32k"),  # frames borrow bits from those before them
    "24k.mp3": ("-ar", "22050", "-b:a", "24k"),
    "vbr.mp3": ("-ar", "44100", "-q:a", "8"),
    "8k.mp3": ("-ar", "8000", "-b:a", "8k"),
    "stereo.mp3": (*STEREO, "-b:a", "64k"),
    "untagged.mp3": ("-ar", "44100", "-b:a", "128k", "-write_xing", "0"),
    "mp3.wav": ("-c:a", "libmp3lame", "-ar", "44100"),
    "x.ogg": ("-c:a", "libvorbis"),
    "x.opus": ("-c:a", "libopus"),
    "x.m4a": ("-c:a", "aac"),
    "stereo.m4a": (*STEREO, "-c:a", "aac"),
    "x.aac": ("-c:a", "aac"),
    "x.mp4": ("-c:a", "aac"),
    "x.mkv": ("-c:a", "libvorbis"),
    "x.webm": ("-c:a", "libopus"),
    "x.wma": ("-c:a", "wmav2"),
    "x.spx": ("-ar", "16000", "-c:a", "libspeex"),
}


def snr_db(wanted, found):
    error = np.square(wanted - found, dtype=np.float64).sum()
    return 10 * np.log10(np.square(wanted, dtype=np.float64).sum() / error) if error else np.inf


def check(path, decode, least_db, capfd):
    file = AudioFile(path)
    wanted = decode(path, file.channels).mean(axis=1)
    for seconds in (0.1, 1.0, 17.0):
        found = np.concatenate(list(file.blocks(round(seconds * file.sample_rate))))
        assert len(found) == len(wanted)
        assert snr_db(wanted, found) >= least_db
    assert abs(file.samples - len(wanted)) < 0.1 * file.sample_rate
    assert capfd.readouterr().err == ""  # decoders write to the terminal behind our back


@pytest.mark.parametrize("name", LOSSLESS)
def test_what_loses_nothing_is_read_exactly_as_ffmpeg_decodes_it(name, encode, decode, capfd):
    check(encode(name, *LOSSLESS[name]), decode, np.inf, capfd)


@pytest.mark.parametrize("name", LOSSY)
def test_what_loses_something_is_read_as_ffmpeg_decodes_all_of_it(name, encode, decode, capfd):
    """In blocks of any length: no decoder begins anew at a block."""
    check(encode(name, *LOSSY[name]), decode, 90.0, capfd)


def test_amr_is_read(tmp_path, decode, capfd):
    """No encoder is needed: any bits are a frame, of 12.2 kbit/s in mode 7."""
    rng = np.random.default_rng(0)
    path = tmp_path / "x.amr"
    path.write_bytes(b"#!AMR\n" + b"".join(b"\x3c" + rng.bytes(31) for _ in range(1000)))
    check(path, decode, 90.0, capfd)
    assert AudioFile(path).sample_rate == 8000


def test_what_can_be_read_is_found_in_a_folder():
    names = [*LOSSLESS, *LOSSY, "x.amr", "x.au", "x.aifc", "x.3gp"]
    assert {f".{name.rpartition('.')[2]}" for name in names} <= SUFFIXES


@pytest.mark.parametrize(("name", "kind"), [("x.flac", SoundFileReader), ("x.m4a", ffmpeg.FfmpegReader)])
def test_ffmpeg_decodes_only_what_libsndfile_does_not_know(name, kind, encode):
    reader = open_reader(encode(name), None)
    assert isinstance(reader, kind)
    reader.close()
