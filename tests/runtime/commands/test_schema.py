"""The schemas that `htsat-edge schema` prints, against real messages and a real configuration."""

import json

import pytest

from htsat_edge.runtime.daemon import messages
from htsat_edge.runtime.dsp.events import EventEnd, EventStart

TIME = "2026-05-01T21:30:00.000+02:00"
EXAMPLES = [
    EventStart(source="yard", id=1, label="Dog", onset=1.28, time=None, score=0.5),
    EventEnd(source="yard", id=1, label="Dog", onset=1.28, offset=3.2, time=TIME, score=0.9),
    messages.GapMessage(source="yard", onset=1.0, offset=2.5, time=TIME, reason="overrun"),
    messages.Listening(source="yard", time=None, sample_rate=48_000, hop_s=0.32, latency_s=1.1),
    messages.HopChanged(source="yard", time=TIME, onset=9.5, hop_s=0.64, latency_s=1.4, text="the model needs 93%"),
    messages.SourceLost(source="yard", time=TIME, text="the microphone was lost"),
    messages.SourceBack(source="yard", time=TIME, text="the microphone is back"),
    messages.SourceFailed(source="yard", time=None, text="yard.wav: is truncated"),
    messages.SourcePaused(source="yard", time=TIME, text="by MQTT"),
    messages.SourceResumed(source="yard", time=TIME, text="by MQTT"),
    messages.InputFault(source="yard", time=TIME, problem="mains hum", advice="mend the shield"),
    messages.InputOk(source="yard", time=TIME, problem="mains hum"),
    messages.CoverageStatus(source="yard", time=TIME, onset=0.0, offset=3600.0, share=0.99, gaps=2),
    messages.LevelStatus(source="yard", time=TIME, onset=60.0, offset=120.0, dbfs=-40.25, laeq_db=55.5, lamax_db=70.75),
    messages.ClockSet(time=TIME, by_s=3600.0),
    messages.ConfigLoaded(time=TIME, text="thresholds: Dog 0.37 -> 0.62"),
    messages.ConfigRejected(time=TIME, text="detector.yaml: events: unknown key"),
    messages.CommandRejected(time=TIME, text="threshold: 1.5 is not between 0 and 1"),
    messages.BackendChanged(time=TIME, backend="onnxruntime, fp32.onnx", text="the server does not answer"),
    messages.Enrolled(time=TIME, labels=["Our doorbell"], text="new: Our doorbell"),
    messages.OutputFailed(time=TIME, output="store store.db", text="database is locked"),
    messages.OutputBack(time=TIME, output="store store.db"),
    messages.TopScores(
        source="yard", time=None, top=[messages.TopScore(label="Dog", score=0.2, threshold=0.5, at=1.28)]
    ),
]
TYPES = {"string": str, "integer": int, "number": (int, float), "null": type(None), "array": list, "object": dict}


def fits(value, schema, root):
    """A validator of the part of JSON Schema that these schemas use."""
    if "$ref" in schema:
        *_, name = schema["$ref"].split("/")
        return fits(value, root["$defs"][name], root)
    if "oneOf" in schema:
        return sum(fits(value, one, root) for one in schema["oneOf"]) == 1
    if "anyOf" in schema:
        return any(fits(value, one, root) for one in schema["anyOf"])
    if not isinstance(value, TYPES[schema["type"]]) or isinstance(value, bool):
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if schema["type"] == "array":
        return all(fits(one, schema["items"], root) for one in value)
    if schema["type"] == "object":
        known = set(value) <= set(schema["properties"]) or schema.get("additionalProperties", True)
        return (
            known
            and set(schema.get("required", ())) <= set(value)
            and all(fits(value[key], part, root) for key, part in schema["properties"].items() if key in value)
        )
    return True


@pytest.fixture
def schema(command):
    status, out, err = command("schema", "messages")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_it_says_what_it_is(schema):
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "htsat-edge message"


def test_every_type_has_an_example(schema):
    assert {type(message).__name__ for message in EXAMPLES} == set(schema["$defs"]) - {"TopScore"}


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_fits_and_has_the_keys_that_are_required(message, schema):
    content = json.loads(message.encoded)
    assert fits(content, schema, schema)
    definition = schema["$defs"][type(message).__name__]
    assert list(content) == definition["required"] == [key for key in definition["properties"] if key != "clip"]


@pytest.mark.parametrize("event", EXAMPLES[:2], ids=["start", "end"])
def test_an_event_may_have_a_clip(event, schema):
    content = json.loads(event.model_copy(update={"clip": "0000001.28_yard_Dog.flac"}).encoded)
    assert [*content][-1] == "clip"
    assert fits(content, schema, schema)
    assert not fits({**content, "clip": None}, schema, schema)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_without_a_key_or_with_one_more_does_not_fit(message, schema):
    content = json.loads(message.encoded)
    for key in content:
        assert not fits({k: v for k, v in content.items() if k != key}, schema, schema), key
    assert not fits({**content, "colour": "red"}, schema, schema)


@pytest.mark.parametrize("message", EXAMPLES[3:], ids=lambda message: type(message).__name__)
def test_states_are_identifiers(message):
    assert message.type == "status"
    assert message.state.isidentifier()
    assert message.state == message.state.lower()


def test_keys_are_explained(schema):
    assert schema["$defs"]["EventEnd"]["properties"]["score"]["description"] == "Peak so far, 0 to 1."
    assert schema["$defs"]["InputFault"]["description"].startswith("Something is wrong with a source's sound")


def test_the_schema_of_the_configuration(command):
    status, out, err = command("schema", "config")
    assert (status, err) == (0, "")
    schema = json.loads(out)
    assert {"model", "detection", "sources", "outputs", "health"} <= set(schema["properties"])


def test_an_unknown_subject_is_one_line(command):
    status, out, err = command("schema", "mesages")
    assert (status, out) == (2, "")
    assert err.startswith("htsat-edge schema: argument subject: invalid choice: 'mesages'")
    assert len(err.splitlines()) == 1
