"""Messages as they are on the wire, and their schema."""

import json
from datetime import datetime, timedelta, timezone
from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from htsat_edge.runtime.daemon.messages import (
    AnyMessage,
    BackendChanged,
    ClockSet,
    CommandRejected,
    ConfigLoaded,
    ConfigRejected,
    CoverageStatus,
    Enrolled,
    GapMessage,
    HopChanged,
    InputFault,
    InputOk,
    LevelStatus,
    Listening,
    OutputBack,
    OutputFailed,
    SourceBack,
    SourceFailed,
    SourceLost,
    SourcePaused,
    SourceResumed,
    Status,
    TopScore,
    TopScores,
    format_time,
    message_schema,
)
from htsat_edge.runtime.dsp.events import EventEnd, EventStart

AT = "2026-11-26T18:00:00.000+00:00"
EVENT = {"source": "yard", "id": 3, "label": "Dog", "onset": 6.4, "time": None, "score": 0.9}
MESSAGES = [
    EventStart(**EVENT),
    EventEnd(**EVENT, offset=7.36),
    GapMessage(source="yard", onset=1.0, offset=2.5, time=AT, reason="unplugged"),
    Listening(source="yard", time=AT, sample_rate=48_000, hop_s=0.32, latency_s=1.1),
    HopChanged(source="yard", time=AT, onset=812.4, hop_s=0.64, latency_s=1.4, text="detection is 4.2 s behind"),
    SourceLost(source="yard", time=AT, text="unplugged"),
    SourceBack(source="yard", time=AT, text="the microphone is back"),
    SourceFailed(source="yard", time=None, text="x.flac: is truncated or damaged"),
    SourcePaused(source="yard", time=AT, text="by MQTT"),
    SourceResumed(source="yard", time=AT, text="by MQTT"),
    InputFault(source="yard", time=AT, problem="clipping", advice="turn the gain down"),
    InputOk(source="yard", time=AT, problem="clipping"),
    CoverageStatus(source="yard", time=AT, onset=0.0, offset=3600.0, share=0.99, gaps=2),
    LevelStatus(source="yard", time=AT, onset=60.0, offset=120.0, dbfs=-41.2, laeq_db=None, lamax_db=None),
    ClockSet(time=AT, by_s=3600.0),
    ConfigLoaded(time=AT, text="thresholds: Dog 0.37 -> 0.62"),
    Enrolled(time=AT, labels=["Our doorbell"], text="new: Our doorbell"),
    ConfigRejected(time=AT, text="detection.releese: unknown key, meant release?"),
    CommandRejected(time=AT, text="threshold: 1.5 is not between 0 and 1"),
    BackendChanged(time=AT, backend="onnxruntime", text="the server does not answer"),
    OutputFailed(time=AT, output="stdout", text="nobody reads it any more"),
    OutputBack(time=AT, output="stdout"),
    TopScores(source="a.flac", time=None, top=[TopScore(label="Dog", score=0.3, threshold=0.5, at=1.28)]),
]
STATES = {
    "listening",
    "hop_changed",
    "source_lost",
    "source_back",
    "source_failed",
    "source_paused",
    "source_resumed",
    "input_fault",
    "input_ok",
    "coverage",
    "level",
    "clock_set",
    "config_loaded",
    "config_rejected",
    "enrolled",
    "command_rejected",
    "backend_changed",
    "output_failed",
    "output_back",
    "top_scores",
}


def test_a_start_and_an_end_on_the_wire():
    assert MESSAGES[0].encoded == (
        '{"type": "start", "source": "yard", "id": 3, "label": "Dog", "onset": 6.4, "time": null, "score": 0.9}'
    )
    assert MESSAGES[1].encoded == (
        '{"type": "end", "source": "yard", "id": 3, "label": "Dog", '
        '"onset": 6.4, "offset": 7.36, "time": null, "score": 0.9}'
    )


def test_a_gap_and_a_status_on_the_wire():
    assert json.loads(MESSAGES[2].encoded) == {
        "type": "gap",
        "source": "yard",
        "onset": 1.0,
        "offset": 2.5,
        "time": AT,
        "reason": "unplugged",
    }
    assert json.loads(ClockSet(time=AT, by_s=-1.5).encoded) == {
        "type": "status",
        "source": None,
        "state": "clock_set",
        "time": AT,
        "by_s": -1.5,
    }


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_is_one_line_and_is_read_back_as_the_same(message):
    assert "\n" not in message.encoded
    assert TypeAdapter(AnyMessage).validate_json(message.encoded) == message


def test_a_message_is_serialised_once():
    class Counted(ConfigLoaded):
        count: int = 0

        def model_dump(self, **options):
            object.__setattr__(self, "count", self.count + 1)
            return super().model_dump(**options)

    message = Counted(time=AT)
    assert message.encoded is message.encoded
    assert message.count == 1


def test_a_message_never_changes_and_knows_its_keys():
    with pytest.raises(ValidationError, match="frozen"):
        MESSAGES[0].label = "Cat"
    with pytest.raises(ValidationError, match="Extra inputs"):
        ConfigLoaded(time=AT, label="x")


def test_the_states_are_those_of_the_contract():
    kinds = get_args(AnyMessage)
    assert {kind.model_fields["state"].default for kind in kinds if issubclass(kind, Status)} == STATES
    assert {type(message) for message in MESSAGES} == set(kinds)


def test_the_schema_describes_every_message():
    schema = message_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    json.dumps(schema)
    for message in MESSAGES:
        own = schema["$defs"][type(message).__name__]
        content = json.loads(message.encoded)
        assert set(own["properties"]) - {"clip"} == set(own["required"]) == set(content)
        assert own["properties"]["type"]["const"] == content["type"]
        assert own.get("additionalProperties") is False
    assert schema["$defs"]["EventStart"]["properties"]["id"]["description"].startswith("Number of the event")


def test_a_time_has_milliseconds_and_its_offset():
    zone = timezone(timedelta(hours=2))
    assert format_time(datetime(2026, 11, 26, 18, 0, 0, 123_999, zone)) == "2026-11-26T18:00:00.123+02:00"
    assert format_time(datetime(2026, 11, 26, tzinfo=timezone.utc)) == "2026-11-26T00:00:00.000+00:00"
