"""Messages to the byte: what reads them must not break."""

import pytest
from pydantic import ValidationError

from htsat_edge.runtime.dsp.events import Event, EventEnd, EventStart

START = EventStart(
    source="yard", id=7, label="Cattle, bovinae", onset=1.28, time="2026-05-01T21:30:01+02:00", score=0.7
)
END = EventEnd(source="yard", id=7, label="Cattle, bovinae", onset=1.28, offset=3.2, time=None, score=0.9812)


def test_a_start_to_the_byte():
    assert START.encoded == (
        '{"type": "start", "source": "yard", "id": 7, "label": "Cattle, bovinae", "onset": 1.28, '
        '"time": "2026-05-01T21:30:01+02:00", "score": 0.7}'
    )


def test_an_end_to_the_byte():
    assert END.encoded == (
        '{"type": "end", "source": "yard", "id": 7, "label": "Cattle, bovinae", "onset": 1.28, "offset": 3.2, '
        '"time": null, "score": 0.9812}'
    )


def test_a_clip_comes_last():
    clip = "20260501T213001.000+0200_yard_Cattle-bovinae.flac"
    for event in (START, END):
        assert event.model_copy(update={"clip": clip}).encoded == f'{event.encoded[:-1]}, "clip": "{clip}"}}'


def test_both_are_events():
    assert isinstance(START, Event)
    assert isinstance(END, Event)
    assert (START.type, START.offset) == ("start", None)
    assert (END.type, END.offset) == ("end", 3.2)


def test_what_is_no_ascii_is_escaped():
    assert '"source": "H\\u00f6fe"' in EventStart(**{**START.model_dump(), "source": "Höfe"}).encoded


def test_an_event_is_serialised_once_and_is_the_same_event():
    fresh = EventEnd(**{**END.model_dump(), "source": "yard"})
    assert END.encoded is END.encoded
    assert fresh == END
    assert hash(fresh) == hash(END)


@pytest.mark.parametrize("event", [START, END])
def test_an_event_is_not_changed(event):
    with pytest.raises(ValidationError, match="frozen"):
        event.label = "Dog"


def test_an_end_has_an_offset_and_nothing_unknown():
    wanted = {"source": "yard", "id": 1, "label": "Dog", "onset": 0.0, "time": None, "score": 0.5}
    with pytest.raises(ValidationError, match="offset"):
        EventEnd(**wanted)
    with pytest.raises(ValidationError, match="offset"):
        EventStart(**wanted, offset=3.0)
    with pytest.raises(ValidationError, match="colour"):
        EventStart(**wanted, colour="red")
