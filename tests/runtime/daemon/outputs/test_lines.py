import io
import json
import os
import resource
from pathlib import Path

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import JsonLinesConfig
from htsat_edge.runtime.daemon.outputs.lines import JsonLinesFile, Stdout

pytestmark = pytest.mark.usefixtures("short_pauses")


def send(output, messages):
    """Send messages, and close the output."""
    output.start()
    for message in messages:
        output.offer(message)
    output.close()


def contents(messages):
    return [json.loads(message.encoded) for message in messages]


def test_stdout_is_json_lines(make_events):
    class Stream(io.StringIO):
        flushed = ""

        def flush(self):
            self.flushed = self.getvalue()

    stream = Stream()
    send(Stdout(stream), make_events(3))
    assert stream.flushed == "".join(f"{message.encoded}\n" for message in make_events(3))


def test_nobody_reads_stdout_any_more(make_events):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    output = Stdout(Closed())
    send(output, make_events(1))
    assert output.dropped == 1
    assert list(output.notices()) == ["nobody reads it any more; what is refused is lost"]


def test_a_file_is_rotated_and_the_oldest_is_deleted(tmp_path, make_events, read_lines):
    path = tmp_path / "logs" / "events.jsonl"
    output = JsonLinesFile(JsonLinesConfig(path=path, rotate_mb=0.01, keep=2))
    output.batch = 10
    send(output, make_events(1000))
    files = [path.with_name("events.jsonl.2"), path.with_name("events.jsonl.1"), path]
    assert sorted(path.parent.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 10_000 for file in files)
    assert all(file.stat().st_size > 9000 - 10 * 120 for file in files[:2])
    kept = [line for file in files for line in read_lines(file)]
    assert len(kept) > 150
    assert kept == contents(make_events(len(kept), 1000 - len(kept)))


def test_a_file_of_which_no_old_one_is_kept(tmp_path, make_events, read_lines):
    path = tmp_path / "events.jsonl"
    output = JsonLinesFile(JsonLinesConfig(path=path, rotate_mb=0.001, keep=0))
    output.batch = 1
    send(output, make_events(100))
    assert list(tmp_path.iterdir()) == [path]
    assert 0 < len(read_lines(path)) < 12


def test_half_a_line_that_a_power_cut_has_left_is_cut_off(tmp_path, make_events, read_lines):
    path = tmp_path / "events.jsonl"
    (first,) = make_events(1)
    path.write_text(f'{first.encoded}\n{{"type": "sta')
    send(JsonLinesFile(JsonLinesConfig(path=path)), make_events(1, first=1))
    assert read_lines(path) == contents(make_events(2))


def test_a_file_that_is_whole_is_added_to(tmp_path, make_events, read_lines):
    path = tmp_path / "events.jsonl"
    for number in range(3):
        send(JsonLinesFile(JsonLinesConfig(path=path)), make_events(1, first=number))
    assert read_lines(path) == contents(make_events(3))


def test_a_full_disk_leaves_no_half_line_and_what_was_not_written_is_written_later(
    tmp_path, make_events, read_lines, wait_for
):
    """/dev/full would do for a whole write; a limit on the file's size stops in the middle of one."""
    path = tmp_path / "events.jsonl"
    output = JsonLinesFile(JsonLinesConfig(path=path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    output.start()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for message in make_events(50):
            output.offer(message)
        wait_for(lambda: output.failures > 2)
        assert path.stat().st_size <= 1000
        assert read_lines(path) == contents(make_events(len(read_lines(path))))
        assert path.read_bytes()[-1:] in (b"", b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    output.close()
    assert read_lines(path) == contents(make_events(50))
    first, last = output.notices()
    assert "; it is tried again" in first
    assert last is None


def test_a_file_that_cannot_be_written_is_an_error_before_anything_begins(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HtsatEdgeError, match=r"outputs.json_lines.path: .*: cannot be written: "):
        JsonLinesFile(JsonLinesConfig(path=tmp_path / "file" / "events.jsonl")).start()


def test_a_device_or_a_pipe_is_refused(tmp_path):
    """Opening a pipe waits for a reader, and /dev/full can be read without end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/full")):
        with pytest.raises(HtsatEdgeError, match=f"outputs.json_lines.path: {path}: is no regular file"):
            JsonLinesFile(JsonLinesConfig(path=path)).start()
