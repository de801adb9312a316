import pytest
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing


def test_a_file_is_there_whole_when_all_is_written(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write(path, error, *errors):
    with replacing(path, *errors) as part:
        part.write_text("half")
        raise error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("the\nlibrary's own")])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(HtsatEdgeError) as told:
        write(path, error, ValueError)
    reason = "No space left on device" if isinstance(error, OSError) else "the library's own"
    assert str(told.value) == f"{path}: cannot be written: {reason}; what was there is as it was"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_is_no_failure_of_writing_goes_on_its_way(tmp_path, error):
    with pytest.raises(error):
        write(tmp_path / "a.txt", error)
    assert list(tmp_path.iterdir()) == []
