"""Files that a person writes: what is wrong in them is one line that says where."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.common.config import parse, read_csv, read_json, read_text, read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Mqtt(Section):
    host: str
    password: dict[str, str] | None = None


class Settings(Section):
    hop_s: float = Field(1.28, gt=0)
    mqtt: Mqtt | None = None


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.yaml"


def fails(read, *arguments):
    with pytest.raises(HtsatEdgeError) as raised:
        read(*arguments)
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    return message


def test_a_file_is_read(path):
    path.write_text("\ufeffhop_s: 0.64\nmqtt: {host: broker}\n")
    assert read_yaml(path, Settings) == Settings(hop_s=0.64, mqtt=Mqtt(host="broker"))
    path.write_text('{"hop_s": 0.64}')
    assert read_json(path, Settings) == Settings(hop_s=0.64)
    path.write_text("# nothing yet\n")
    assert read_yaml(path, Settings) == Settings()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hop: 1", "hop: unknown key, meant hop_s?"),
        ("mqtt: {hst: broker}", "mqtt.host: key is missing"),
        ("mqtt: {host: broker, pasword: x}", "mqtt.pasword: unknown key, meant password?"),
        ("pasword: x", "pasword: unknown key, meant mqtt.password?"),
        ("mqtt: {host: broker, hop: 1}", "mqtt.hop: unknown key, meant hop_s?"),
        ("hop_s: 0", "hop_s: Input should be greater than 0, not 0"),
        ("[1]", "wants keys (hop_s, mqtt), not a list"),
    ],
)
def test_the_first_fault_is_named_with_its_place(content, message, path):
    path.write_text(content)
    assert fails(read_yaml, path, Settings) == f"{path}: {message}"


def test_a_secret_is_never_repeated(path):
    message = fails(parse, path, {"mqtt": {"host": "broker", "password": "hunter2"}}, Settings)
    assert "hunter2" not in message
    assert message.endswith(": want env or file, and never the secret itself")


def test_what_is_no_file_of_its_kind(path):
    path.write_text("a: [1")
    assert fails(read_yaml, path, Settings).startswith(f"{path}: is not YAML: ")
    path.write_text("{")
    assert fails(read_json, path, Settings).startswith(f"{path}: is not JSON: ")
    path.write_bytes(b"\xff\xfe\x00")
    assert fails(read_text, path).startswith(f"{path}: cannot be read: ")


@pytest.mark.parametrize(("read", "what"), [(read_yaml, "YAML"), (read_json, "JSON")])
def test_a_key_that_is_there_twice_is_refused(read, what, path):
    path.write_text('{"runs": 1, "runs": 2}')
    assert fails(read, path, Settings).startswith(f"{path}: is not {what}: the key 'runs' is there twice")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: 1\nb: {c: 2,\n   c: me}\n", "the key 'c' is there twice, on line 3"),
        (
            "a: 1\nb: [me:hunter2\n",
            "while parsing a flow sequence, expected ',' or ']', but got '<stream end>', on line 3",
        ),
        ("a: 1\nb: \x01\n", "the character '\\x01' is not allowed, on line 2"),
        ("a: &a [*a]\n", "what is named on line 1 repeats itself within itself"),
    ],
)
def test_what_is_no_yaml_is_named_with_its_line_and_not_repeated(content, message, path):
    """The excerpt of the file ran into the sentence."""
    path.write_text(content)
    assert fails(read_yaml, path, Settings) == f"{path}: is not YAML: {message}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_as_programs_write_it(encoding, path):
    path.write_bytes("Käse\r\nRegen\n".encode(encoding))
    assert read_text(path) == "Käse\nRegen\n"


def test_what_is_no_file(tmp_path):
    assert fails(read_text, tmp_path / "absent") == f"{tmp_path}/absent: no such file"
    assert fails(read_text, tmp_path) == f"{tmp_path}: is a directory, want a file"


@pytest.mark.parametrize("name", ["esc50.yaml", "ESC50.yaml", "configs/esc50.yaml"])
def test_a_file_that_is_one_of_ours_is_named(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert fails(read_text, Path(name)) == f"{name}: no such file, meant {CONFIGS}/networks/esc50.yaml?"
    monkeypatch.chdir(CONFIGS.parent)
    assert fails(read_text, Path(name)) == f"{name}: no such file, meant {CONFIGS.name}/networks/esc50.yaml?"


def test_a_table(path):
    path.write_text("path,label\na.wav,Dog\nb.wav,\n")
    assert read_csv(path, ["path"]) == [{"path": "a.wav", "label": "Dog"}, {"path": "b.wav", "label": ""}]
    assert fails(read_csv, path, ["path", "label"]) == f"{path}: row 2 has no label"
    assert fails(read_csv, path, ["onset"]) == f"{path}: has no column 'onset' in its header"
    path.write_text('a\n"b"c\n')
    assert fails(read_csv, path, ["a"]).startswith(f"{path}: is not CSV: ")
