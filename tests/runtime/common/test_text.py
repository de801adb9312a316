import logging
import sys

import pytest

from htsat_edge.runtime.common.text import LogFormatter, clock, in_one_line, is_name, listed, shown, visible


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Küche/雨 1.wav", "Küche/雨 1.wav"),
        ("", ""),
        ("a\x1b[2Jb\x07\x9b", r"a\x1b[2Jb\x07\x9b"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\udcff\u202ewav.exe", r"\udcff\u202ewav.exe"),
    ],
)
def test_only_what_shows_as_it_is_stays(text, seen):
    assert visible(text) == seen


def test_errors_and_logs_show_no_password():
    assert shown("a\n rtsp://me:secret@cam/1: refused") == r"a\n rtsp://cam/1: refused"
    assert shown("http://cam/1?user=me&pwd=secret\n") == r"http://cam/1?…\n"
    try:
        raise KeyError("x")
    except KeyError:
        record = logging.LogRecord("a", logging.INFO, "", 1, "%s\x1b", ("http://me:secret@cam",), sys.exc_info())
    lines = LogFormatter("%(levelname)s %(message)s").format(record).splitlines()
    assert (lines[0], lines[-1]) == (r"INFO http://cam\x1b", "KeyError: 'x'")


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        ([], ""),
        (["a"], "a"),
        (list("abcd"), "a, b, c, d"),
        (list("abcde"), "a, b, c and 2 more"),
        (range(415), "0, 1, 2 and 412 more"),
    ],
)
def test_many_names_are_counted(names, seen):
    assert listed(names) == seen


def test_of_a_long_message_the_beginning_is_in_one_line():
    assert in_one_line(ValueError("two\n  lines")) == "two lines"
    assert in_one_line("x" * 300) == "x" * 300
    assert in_one_line("word " * 100) == f"{('word ' * 100)[:298]} …"


@pytest.mark.parametrize(
    ("text", "found"),
    [("Cattle, bovinae", True), ("Möwe", True), ("", False), (" ", False), ("a\nb", False), ("\x1b[0m", False)],
)
def test_what_can_stand_as_a_name(text, found):
    assert is_name(text) == found


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [
        (0, 2, "0:00.00"),
        (59.994, 2, "0:59.99"),
        (59.995, 2, "1:00.00"),
        (3723.45, 2, "1:02:03.45"),
        (75.6, 0, "1:16"),
        (3599.6, 0, "1:00:00"),
    ],
)
def test_seconds_as_a_clock_has_them(seconds, digits, text):
    assert clock(seconds, digits) == text
