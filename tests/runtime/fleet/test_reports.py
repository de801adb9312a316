"""What comes from the network: messages of this version, of a newer one, and of nobody."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.daemon.device import NumberedMessage
from htsat_edge.runtime.daemon.messages import BackendChanged, CoverageStatus, GapMessage
from htsat_edge.runtime.dsp.events import EventEnd, EventStart
from htsat_edge.runtime.fleet.reports import (
    ForgetReport,
    HealthReport,
    InfoReport,
    MessageReport,
    OnlineReport,
    ReportError,
    read_report,
)
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

TIME = "2026-05-01T21:30:00.000+02:00"
EVENT = {"source": "gate", "id": 3, "label": "Dog", "onset": 1.5, "time": TIME, "score": 0.5}
MESSAGES = [
    EventStart(**EVENT),
    EventStart(**EVENT, clip="gate-3.flac"),
    EventEnd(**EVENT, offset=2.5),
    GapMessage(source="gate", onset=1.0, offset=2.0, time=None, reason="unplugged"),
    CoverageStatus(source="gate", time=TIME, onset=0.0, offset=3600.0, share=0.5, gaps=2),
    BackendChanged(time=TIME, backend="onnxruntime", text="the server is slow"),
]


def read_message(message, **envelope):
    content = {"session": "a" * 32, "number": 7, "message": message, **envelope}
    return read_report("htsat-edge/yard/messages", json.dumps(content).encode())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("newer", [{}, {"newer": {"than": ["this"]}}], ids=["ours", "of a newer version"])
def test_a_message_is_read_as_it_was_published(message, newer):
    published = NumberedMessage(session="a" * 32, number=7, message=json.loads(message.encoded) | newer)
    report = read_report("htsat-edge/yard/messages", published.model_dump_json().encode())
    assert (report.device, report.session, report.number) == ("htsat-edge/yard", "a" * 32, 7)
    kept = newer if message.type == "status" else {}  # of which all is stored
    assert json.loads(report.content.encoded) == json.loads(message.encoded) | kept


def test_clips_and_what_only_a_newer_version_knows():
    clip = {"source": "gate", "number": 3, "name": "gate-3.flac", "onset": 0.5, "offset": 4.0, "time": TIME}
    assert read_message({"type": "clip_saved", **clip}).content == SavedClip(**clip)
    assert read_message({"type": "clip_removed", "name": "gate-3.flac"}).content == RemovedClip("gate-3.flac")
    assert read_message({"type": "newer", "number": "whatever"}) == MessageReport("htsat-edge/yard", "a" * 32, 7, None)


def test_what_a_device_is_and_how_it_gets_on():
    info = {"session": "b" * 32, "started_at": TIME, "place": "Barn", "version": "9", "newer": 1}
    report = read_report("attic/info", json.dumps(info).encode())
    assert report == InfoReport("attic", "b" * 32, 1777663800.0, "Barn", report.text)
    assert json.loads(report.text) == info
    assert read_report("attic/health", b'{"a": 1}') == HealthReport("attic", '{"a": 1}')
    assert read_report("attic/status", b"online") == OnlineReport("attic", True)
    assert read_report("attic/status", b"offline") == OnlineReport("attic", False)
    assert read_report("attic/info", b"") == ForgetReport("attic")
    assert [read_report(f"attic/{kind}", b"") for kind in ("health", "status", "messages")] == [None] * 3


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"number": 0}, "number: Input should be greater than or equal to 1"),
        ({"number": 2**53}, f"number: Input should be less than {2**53}"),
        ({"session": ""}, "session: String should have at least 1 character"),
        ({"message": 5}, "message: has no type"),
        ({"message": {"type": ["start"]}}, "message: has no type"),
        (
            {"message": {**EVENT, "type": "start", "score": "loud"}},
            "message.start.score: Input should be a valid number",
        ),
        ({"message": {"type": "clip_removed", "name": "../../etc/passwd"}}, "message.clip_removed.name: String should"),
        ({"message": {"type": "clip_removed", "name": "a" * 300}}, "message.clip_removed.name: String should"),
        ({"message": {**EVENT, "type": "start", "label": "Dog\0"}}, "holds a null character"),
        ({"message": {**EVENT, "type": "start", "label": "\ud800"}}, "cannot be read: "),
        ({"message": {**EVENT, "type": "start", "label": "D" * 70_000}}, "has more than 65536 bytes"),
        ({"message": {**EVENT, "type": "start", "onset": float("nan")}}, "cannot be read: "),
    ],
)
def test_what_is_no_message(change, error):
    with pytest.raises(ReportError) as raised:
        read_message(**{"message": {**EVENT, "type": "start"}, **change})
    assert str(raised.value).startswith(error)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("state", ['{"a": 1e999}', '{"a": [{"b": -1e999}]}'])
def test_a_number_without_end_is_none(state):
    status = f'{{"type": "status", "source": null, "state": "x", "time": null, "more": {state}}}'
    envelope = f'{{"session": "a", "number": 1, "message": {status}}}'
    for kind, content in (("messages", envelope), ("health", state)):
        with pytest.raises(ReportError, match=r"^cannot be read: "):
            read_report(f"attic/{kind}", content.encode())


@pytest.mark.parametrize(
    "topic", ["", "info", "/info", "attic/", "attic/event", "$SYS/info", "a\nb/info", "a" * 501 + "/info"]
)
def test_what_is_no_topic_of_a_device(topic):
    with pytest.raises(ReportError, match=r"^is no topic of a device$"):
        read_report(topic, b"{}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
KEYS = st.sampled_from([*EVENT, "type", "offset", "reason", "state", "name", "number"])
TYPES = st.sampled_from(["start", "end", "gap", "status", "clip_saved", "clip_removed", "newer"])
NEAR = st.builds(
    lambda kind, changes: (
        {**EVENT, "reason": "x", "state": "x", "number": 1, "name": "a", "offset": 2, "type": kind} | changes
    ),
    TYPES,
    st.dictionaries(KEYS, JSON, max_size=2),
)
ENVELOPES = st.fixed_dictionaries({"session": st.text() | JSON, "number": st.integers() | JSON, "message": NEAR | JSON})


@given(
    kind=st.sampled_from(["info", "health", "status", "messages"]),
    payload=st.binary() | JSON.map(lambda content: json.dumps(content).encode()),
)
def test_anything_is_a_report_or_an_error(kind, payload):
    try:
        report = read_report(f"attic/{kind}", payload)
    except ReportError:
        return
    assert report is None or report.device == "attic"


@given(content=ENVELOPES)
def test_a_message_that_is_read_can_be_stored(content):
    try:
        report = read_report("attic/messages", json.dumps(content).encode())
    except ReportError:
        return
    assert 1 <= report.number < 2**53
    if isinstance(report.content, EventStart | EventEnd):
        json.dumps(report.content.model_dump(), allow_nan=False)
        report.content.label.encode()
