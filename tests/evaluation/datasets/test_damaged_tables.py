"""Tables and exports that were cut or overwritten: read, or refused in one line."""

import random

import pytest

from htsat_edge.evaluation.datasets import read_dataset
from htsat_edge.runtime.common.errors import HtsatEdgeError

NAMES = [
    *("esc50", "urbansound8k", "speech-commands", "fsd50k", "audioset", "desed", "label-studio", "kaleidoscope"),
    *("raven", "audacity", "textgrid"),
]
SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".TextGrid")
PIECES = [b"\t", b",", b"\n", b'"', b"\x00", b"\xff", b"{", b"[", b"null", b"-1", b"nan", b"1e999", b"\r", b"/", b".."]


def damage(content, choice):
    """Put something into the content, take something out of it, or cut it off."""
    place = choice.randrange(len(content) + 1)
    match choice.randrange(3):
        case 0:
            return content[:place] + choice.choice(PIECES) + content[place:]
        case 1:
            return content[:place] + content[place + choice.randrange(1, 20) :]
        case _:
            return content[:place]


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_no_traceback(layouts, tmp_path, name):
    if name == "textgrid":
        pytest.importorskip("praatio")
    layouts.ALL[name](tmp_path)
    choice = random.Random(name)
    tables = sorted(path for path in tmp_path.rglob("*") if path.suffix in SUFFIXES)
    messages = []
    for _ in range(25):
        table = choice.choice(tables)
        whole = table.read_bytes()
        table.write_bytes(damage(whole, choice))
        try:
            assert read_dataset([tmp_path], name).recordings
        except HtsatEdgeError as error:
            messages.append(str(error))
        table.write_bytes(whole)
    assert messages
    assert [message for message in messages if "\n" in message] == []


def test_all_layouts_are_damaged(layouts):
    assert sorted(NAMES) == sorted(layouts.ALL)
