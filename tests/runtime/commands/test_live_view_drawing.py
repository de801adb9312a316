"""What the live view of `listen` shows: everything that matters, at every size."""

import io
import logging

import pytest
from rich.cells import cell_len
from rich.console import Console

from htsat_edge.runtime.commands.live_view_drawing import LivePicture, draw, leave, meter
from htsat_edge.runtime.commands.live_view_state import SourceView, ViewState
from htsat_edge.runtime.daemon.live.frames import DeviceStatus, LiveFrame, LiveOutput, LiveSource, NewestScores
from htsat_edge.runtime.daemon.messages import GapMessage, InputFault, Listening, SourceBack, SourceLost
from htsat_edge.runtime.dsp.events import EventEnd, EventStart

AT = "2026-11-27T12:00:00.000+00:00"
LIMITS = {"Dog": 0.8, "Speech": 0.9}


def start(number, label="Dog", source="yard", kind=EventStart, **more):
    return kind(source=source, id=number, label=label, onset=float(number), time=AT, score=0.85, **more)


def frame(source="yard", **scores):
    newest = NewestScores(onset=0, step_s=0.32, final=1, scores=scores)
    return LiveFrame(
        source=source, onset=0, time=AT, column_s=0.02, mels=64, columns="", low_hz=50, high_hz=14_000,
        level_dbfs=-30, newest=newest,
    )  # fmt: skip


def source_status(name, **changed):
    content = {
        "name": name, "heard": True, "problems": [], "failure": None, "coverage": 1, "gaps": 0, "lost_s": 0,
        "position_s": 9, "level_dbfs": -30, "hop_s": 0.32, "latency_s": 1.3, "behind_s": 0, "suppressed": 0,
    }  # fmt: skip
    return LiveSource(**{**content, **changed})


def status(*sources, outputs=()):
    return DeviceStatus(
        time=AT, version="1", uptime_s=9, healthy=True, model="bundled", backend="onnxruntime, fp32.onnx", engine=None,
        load=0.04, inference_ms=9, slowest_ms=9, temperatures={}, sources=list(sources), outputs=list(outputs),
    )  # fmt: skip


@pytest.fixture
def state():
    """What is known of two sources, of which one is clipping."""
    made = ViewState(0.0)
    for name in ("yard", "gate"):
        made.sources[name] = SourceView(name, "the default microphone", latency_s=1.3, thresholds=LIMITS)
    made.take(Listening(source="yard", time=AT, sample_rate=48_000, hop_s=0.32, latency_s=1.3), 1.0)
    made.take(status(source_status("yard"), source_status("gate", problems=["clipping"])), 1.0)
    return made


def text_of(state, width=80, height=24, now_s=2.0):
    return "\n".join(line.plain for line in draw(state, now_s, width, height))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 16), (30, 8), (20, 4), (200, 60)])
def test_it_fits_every_terminal(width, height, state):
    for number in range(50):
        state.take(start(number, "Pneumatic 鼓 drill, of which the name is long", "gate"), 1.0)
        state.note(logging.WARNING, f"{number} " + "a line of the log that is longer than the terminal is wide " * 3)
    state.take(frame(Dog=[0.85], Speech=[0.5]), 1.9)
    lines = draw(state, 2.0, width, height)
    assert len(lines) == height
    console = Console(width=width, height=height, record=True, file=io.StringIO(), force_terminal=True)
    console.print(LivePicture(state, 2.0), end="")
    shown = console.export_text().splitlines()
    assert len(shown) <= height
    assert max(map(cell_len, shown)) <= width
    assert shown[-1].startswith("Ctrl-C ends")
    assert shown[0].startswith("htsat-edge 0:02")
    if height > 8:
        assert "Dog" in "".join(shown)
        assert "goes on" in "".join(shown)


def test_before_the_model_is_there_it_says_so():
    assert text_of(ViewState(0.0)).startswith("htsat-edge opens the model")


def test_before_the_first_event_it_says_when_one_can_come(state):
    text = text_of(state)
    assert "none yet; a sound is reported from 1.3 s after its onset on" in text
    assert "the default microphone, 48 kHz, first scores in about a second" in text
    assert "htsat-edge 0:02 · 4 % busy · bundled on onnxruntime, fp32.onnx" in text
    state.sources["yard"].device = "HDA Intel PCH"
    assert "the default microphone, 48 kHz, first scores in about a second, HDA Intel PCH" in text_of(state)
    state.sources["yard"].device = "default"
    assert ", default" not in text_of(state)


def test_that_nothing_is_kept_is_said(state):
    assert text_of(state).endswith("Ctrl-C ends · no events")
    state.kept = False
    assert text_of(state, width=60).endswith("Ctrl-C ends · no events · nothing is kept: no outputs.store")


def test_scores_have_their_thresholds_and_go_when_nothing_is_heard(state):
    state.take(frame(Dog=[0.99, 0.99, 0.99, 0.99, 0.5, 0.4], Speech=[0.95], Horse=[1.0], Cat=[0.001]), 1.9)
    dog, speech = state.top(2.0)
    assert (dog.label, dog.score, dog.threshold) == ("Dog", 0.99, 0.8)
    assert (speech.label, speech.score, speech.threshold) == ("Speech", 0.95, 0.9)
    state.take(frame(Dog=[0.99, 0.5, 0.4, 0.3]), 1.9)
    assert [one.score for one in state.top(2.0)] == [0.5]  # the last second alone counts
    assert state.top(9.0) == []
    assert "nothing that the model knows" in text_of(state, now_s=9.0)


def test_a_meter_has_a_mark():
    assert meter(0.5, 10, "green", 0.8).plain == "━━━━━───┃─"
    assert meter(0.9, 10, "green", 0.8).plain == "━━━━━━━━┃─"
    assert [meter(share, 4, "green", 1.0).plain for share in (-1, 2)] == ["───┃", "━━━┃"]
    assert meter(0.5, 0, "green", 0.5).plain == ""


def test_a_level_rises_at_once_and_falls_slowly(state):
    levels = []
    for dbfs in (-20.0, float("-inf"), -25.0, -200.0):
        state.set_level("yard", dbfs)
        levels.append(state.sources["yard"].level_dbfs)
    assert levels == [-20, -30, -25, -35]


def test_an_event_goes_on_until_its_end(state):
    end = start(9, kind=EventEnd, offset=9.5)
    for message in (start(1), start(2, source="gate"), start(1, kind=EventEnd, offset=3.5), end):
        state.take(message, 1.0)
    assert [(row.source, row.offset) for row in state.events] == [("yard", 3.5), ("gate", None), ("yard", 9.5)]
    assert state.count == 3
    state.take(start(1), 1.0)  # of another run
    state.take(start(1, kind=EventEnd, offset=4.0), 1.0)
    assert [row.offset for row in state.events] == [3.5, None, 9.5, 4.0]
    assert "4 events" in text_of(state)


def test_an_early_start_that_was_not_borne_out_is_marked(state):
    for number, score in ((1, 0.79), (2, 0.81)):
        state.take(start(number, kind=EventEnd, offset=9.0).model_copy(update={"score": score}), 1.0)
    assert [row.early for row in state.events] == [True, False]
    assert "early: its final scores stay below the threshold" in text_of(state)


def test_times_are_those_of_the_place(state, in_zone):
    in_zone("Asia/Kolkata")
    state.take(start(1), 1.0)
    assert "\n17:30:00 Dog" in text_of(state)
    state.take(start(2).model_copy(update={"time": "2026-11-28T12:00:00.000+00:00"}), 1.0)
    assert "11-28 17:30:00 Dog" in text_of(state)


def test_faults_come_first_with_what_mends_them(state):
    text = text_of(state)
    assert text.index("gate") < text.index("yard")
    assert "clipping: turn the gain down: alsamixer, F4" in text
    failing = LiveOutput(name="mqtt", works=False, waiting=3, sent=0, dropped=1, failures=9)
    state.take(SourceLost(source="yard", time=AT, text="unplugged"), 1.0)
    state.take(status(source_status("yard", heard=False), source_status("gate"), outputs=[failing]), 1.0)
    text = text_of(state)
    assert text.index("lost: unplugged") < text.index("gate")
    assert "mqtt: does not deliver; 3 wait, 1 lost" in text


def test_a_paused_source_says_so_and_is_no_fault(state):
    paused = source_status("yard", paused=True, heard=False, problems=["clipping"])
    state.take(status(paused, source_status("gate")), 1.0)
    text = text_of(state)
    assert "paused: it is not listened to" in text
    assert "lost" not in text
    assert "clipping" not in text


def test_of_many_sources_those_that_fit_are_there(state):
    for number in range(20):
        state.sources[f"camera {number}"] = SourceView(f"camera {number}", "")
    state.take(status(source_status("camera 19", heard=False, failure="no route")), 1.0)
    text = text_of(state)
    assert "lost: no route" in text
    assert "more sources" in text
    assert "events" in text


def test_what_happens_is_noted_once(state):
    state.note(logging.WARNING, "yard: unplugged; it is tried again")
    for message in (
        SourceLost(source="yard", time=AT, text="unplugged; it is tried again"),
        GapMessage(source="yard", onset=1, offset=3.5, time=AT, reason="unplugged"),
        SourceBack(source="yard", time=AT, text="the microphone is back"),
        InputFault(source="gate", time=AT, problem="clipping", advice="turn the gain down"),
    ):
        state.take(message, 1.0)
    assert [note.text for note in state.notes] == [
        "yard: unplugged; it is tried again",
        "yard: 2.50 s lost: unplugged",
        "yard: the microphone is back",
        "gate: clipping: turn the gain down",
    ]


def test_nothing_commands_the_terminal(state):
    state.sources["yard"].what = "\x1b[2J"
    state.take(start(1, "Dog\x1b]0;x\x07"), 1.0)
    state.note(logging.INFO, "\x1b[31m")
    assert "\x1b" not in text_of(state)
    assert "\x1b" not in "".join(line.plain for line in leave(state, 2.0, 80))
