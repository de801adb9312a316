"""Texts of notifications."""

import pytest

from htsat_edge.runtime.daemon.config.template import FIELDS, check_template, fill_template

VALUES = dict.fromkeys(FIELDS, "") | {"label": "{place} {0.__class__}\x00", "source": "a}b{", "place": "Barn"}


@pytest.mark.parametrize(
    "text",
    [
        "{label.__class__}",
        "{label[0]}",
        "{0}",
        "{}",
        "{label!r}",
        "{label:>10}",
        "{label:{source}}",
        "{secret}",
        "{label",
        "label}",
        "{ label }",
    ],
)
def test_only_the_names_stand_in_braces(text):
    with pytest.raises(ValueError, match=r"want one of \{label\}, \{source\}, .*\{place\}, and \{\{ for a brace$"):
        check_template(text)


def test_what_is_put_in_is_only_text():
    text = check_template("{{{label}}} at {source}, {place}{{")
    assert fill_template(text, VALUES) == "{{place} {0.__class__}\x00} at a}b{, Barn{"


def test_a_text_without_names_stays_as_it_is():
    assert fill_template(check_template("100 % $x \\n"), VALUES) == "100 % $x \\n"
