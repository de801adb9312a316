import json

import pytest
from pydantic import ValidationError

from htsat_edge.runtime.common.message import Message


class Greeting(Message):
    type: str = "greeting"
    text: str


def test_keys_come_in_the_order_of_the_class():
    assert Greeting(text="hello", source=None).encoded == '{"type": "greeting", "source": null, "text": "hello"}'


def test_a_message_is_one_line_of_ascii_whatever_it_says():
    message = Greeting(source="yard", text="two\nlines, »Ü« 🎤\u2028")
    assert message.encoded.isascii()
    assert len(message.encoded.splitlines()) == 1
    assert json.loads(message.encoded) == message.model_dump()


def test_a_message_is_frozen_and_knows_its_keys():
    with pytest.raises(ValidationError, match="frozen"):
        Greeting(source=None, text="hello").text = "goodbye"
    with pytest.raises(ValidationError, match="Extra inputs"):
        Greeting(source=None, text="hello", colour="red")
