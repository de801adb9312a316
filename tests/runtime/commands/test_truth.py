"""The file that says what does sound in a recording."""

from pathlib import Path

import pytest

from htsat_edge.runtime.commands.truth import TrueSound, read_truth, tell_of_late
from htsat_edge.runtime.common.errors import HtsatEdgeError

PLOT, ONE = Path("x.png"), [Path("yard.wav")]


@pytest.fixture
def read(tmp_path):
    def run(text, plot=PLOT, files=ONE):
        path = tmp_path / "truth.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_truth(path, plot, files)

    return run


def test_no_file_is_no_sound():
    assert read_truth(None, None, ONE * 2) == []


@pytest.mark.parametrize(
    "text",
    [
        'onset,offset,label,path\n7,8,Dog,a.ogg\n1.5,5,"Cattle, bovinae",b.ogg\n',
        "\ufefflabel;onset;offset\nDog;7;8\nCattle, bovinae;1.5;5\n",
        "onset\toffset\tlabel\n7\t8\tDog\n1.5\t5\tCattle, bovinae\n",
        "onset\toffset\tevent_label\n7\t8\tDog\n1.5\t5\tCattle, bovinae\n",
        'file,class,onset,offset\nyard.wav,Dog,7,8\n/x/yard.wav,"Cattle, bovinae",1.5,5\nb.wav,Cat,1,2\n',
    ],
    ids=["with another column", "semicolons, as spreadsheets write", "tabs", "DESED's", "of several recordings"],
)
def test_sounds_come_in_the_order_of_their_onsets(text, read):
    assert read(text) == [TrueSound("Cattle, bovinae", 1.5, 5.0), TrueSound("Dog", 7.0, 8.0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column onset, offset, label; it has none"),
        ("onset,end,label\n", "has no column offset; it has onset, end, label"),
        ("onset,offset,label\n1,2,Dog\n1,x,Dog\n", "line 3: want seconds with 0 <= onset < offset, not '1' and 'x'"),
        ("onset,offset,label\n2,1,Dog\n", "line 2: want seconds"),
        ("onset,offset,label\n1,inf,Dog\n", "line 2: want seconds"),
        ("onset,offset,label\n1\n", "line 2: want seconds"),
        ("onset,offset,label\n1,2,\n", "line 2: '' is no label"),
        (f"onset,offset,label\n1,2,{'x' * 200_000}\n", "line 2: is not CSV: field larger than"),
        ("file,onset,offset,label\na.wav,1,2,Dog\n", "has no row of yard.wav; its column file names a.wav"),
        (b"\xff\xfe\x00", "is no text in UTF-8, want a CSV file"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(text, message, read):
    with pytest.raises(HtsatEdgeError) as error:
        read(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_sounds_beyond_the_end_are_told_of_in_one_line(capsys):
    tell_of_late([TrueSound("Dog", 7, 8), TrueSound("Cat", 9, 10.1)], Path("truth.csv"), 10.0)  # rounded
    assert capsys.readouterr().err == ""
    tell_of_late([TrueSound("Dog", 7, 8), TrueSound("Cat", 9, 12), TrueSound("Cow", 20, 21)], Path("truth.csv"), 10.0)
    assert capsys.readouterr().err == (
        "htsat-edge detect: --truth truth.csv: beyond the recording's end at 10.0 s: Cat (to 12 s), Cow (to 21 s)\n"
    )


def test_it_belongs_to_a_picture_of_one_recording(read):
    with pytest.raises(HtsatEdgeError, match="is drawn, so say where: --plot"):
        read("onset,offset,label\n", plot=None)
    with pytest.raises(HtsatEdgeError, match="belongs to one recording, but there are 2"):
        read("onset,offset,label\n", files=ONE * 2)
    with pytest.raises(HtsatEdgeError, match="cannot be read: No such file"):
        read_truth(Path("/nowhere/truth.csv"), PLOT, ONE)
