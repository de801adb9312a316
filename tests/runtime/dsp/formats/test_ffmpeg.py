import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.formats import ffmpeg

pytestmark = pytest.mark.usefixtures("ffmpeg")


def read(path):
    return np.concatenate(list(AudioFile(path).blocks(7000)))


def test_without_ffmpeg_the_line_says_what_works_and_how_to_convert(encode, monkeypatch):
    path = encode("my cat.m4a")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(HtsatEdgeError) as error:
        AudioFile(path)
    assert str(error.value) == (
        f"{path}: is no wav, flac, ogg, opus, mp3, aiff, caf or w64, and other formats need ffmpeg: sudo apt install "
        "ffmpeg, or where it is installed: ffmpeg -i 'my cat.m4a' 'my cat.wav'"
    )


def test_the_length_is_counted_where_the_file_does_not_say_it(encode, decode, tmp_path):
    """As browsers record: nothing is written back to the head."""
    path = tmp_path / "x.webm"
    with path.open("wb") as file:
        command = ["ffmpeg", "-nostdin", "-v", "error", "-i", encode("x.opus"), "-c", "copy", "-f", "webm", "pipe:1"]
        subprocess.run(command, stdout=file, check=True)
    wanted = decode(path)[:, 0]
    reader = ffmpeg.FfmpegReader(path)
    assert reader.measure() is None
    reader.close()
    assert AudioFile(path).samples == len(wanted)
    np.testing.assert_array_equal(read(path), wanted)


def test_a_film_is_heard(encode, decode, tmp_path):
    path = tmp_path / "x.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc=d=1:s=64x64:r=5"]
    command = ["ffmpeg", "-nostdin", "-v", "error", *picture, "-i", encode("x.m4a"), "-t", "3", path]
    subprocess.run(command, check=True)
    np.testing.assert_array_equal(read(path), decode(path)[:, 0])


def test_a_film_without_sound_is_refused(tmp_path):
    path = tmp_path / "x.mp4"
    picture = ["-f", "lavfi", "-i", "testsrc=d=1:s=64x64:r=5"]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", *picture, path], check=True)
    with pytest.raises(HtsatEdgeError, match=r"x\.mp4: is no recording that can be read: no audio; want wav, "):
        AudioFile(path)


@pytest.mark.parametrize(("name", "options"), [("x.mkv", ()), ("x.m4a", ("-movflags", "+faststart")), ("x.wv", ())])
def test_a_copy_that_was_cut_is_refused(name, options, encode):
    path = encode(name, *options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(HtsatEdgeError, match=r"is truncated or damaged after \d+\.\d{3} s; copy it again"):
        read(path)


def test_what_ffmpeg_finds_wrong_is_logged(encode, decode, caplog):
    path = encode("x.aac")
    content = bytearray(path.read_bytes())
    content[50_000:50_040] = bytes(40)
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path), decode(path)[:, 0])
    assert caplog.messages
    assert all(line.startswith(f"{path}: ffmpeg reports: ") for line in caplog.messages)


def test_a_file_without_the_part_that_describes_it(encode):
    path = encode("x.m4a")
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(HtsatEdgeError, match=r"x\.m4a: is no recording that can be read: moov atom not found; want"):
        AudioFile(path)


@pytest.mark.parametrize("name", ["-x.m4a", "http:x.m4a", "x%d.m4a", "a b'c.m4a", "x:y|z.m4a"])
def test_a_name_is_a_name_and_nothing_else(name, encode, decode, tmp_path, monkeypatch):
    path = encode("x.m4a")
    wanted = decode(path)[:, 0]
    path.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(read(Path(name)), wanted)


def test_a_playlist_fetches_nothing(tmp_path):
    path = tmp_path / "x.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://localhost:1/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(HtsatEdgeError, match="is no recording that can be read"):
        AudioFile(path)


@pytest.mark.parametrize("name", ["x.wav", "x.m3u8", "x"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\nprivate.mp3\n#EXT-X-ENDLIST\n\0\0",
        "ffconcat version 1.0\nfile private.mp3\n\0\0",
    ],
)
def test_a_list_of_other_files_is_no_recording(text, name, encode, tmp_path):
    encode("private.mp3", to=tmp_path)
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(HtsatEdgeError) as error:
        AudioFile(path)
    reason = r"(Format not recognised|Not detecting m3u8/hls with non standard extension .*)"  # the latter in ffmpeg 7
    said = rf"{re.escape(str(path))}: is no recording that can be read: {reason}; want wav, .*"
    assert re.fullmatch(said, str(error.value))


def test_ffmpeg_ends_with_its_reader(encode):
    """Also where a recording is not read to its end."""
    reader = ffmpeg.FfmpegReader(encode("x.m4a"))
    assert reader.read(100).shape == (100, 1)
    reader.close()
    assert reader._process.returncode is not None
