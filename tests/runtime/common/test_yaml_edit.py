"""Numbers are set in YAML as people write it, and every other character stays."""

import difflib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from htsat_edge.runtime.common import safe_yaml
from htsat_edge.runtime.common.yaml_edit import flow, set_numbers

PATH = ["detection", "thresholds"]


def set_dog(text, number=0.6, **more):
    return set_numbers(text, PATH, {"Dog": number, **more})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "detection:\n  thresholds:\n    Dog: 0.6\n"),
        ("# mine\nweb:  # no end", "# mine\nweb:  # no end\ndetection:\n  thresholds:\n    Dog: 0.6"),
        ("detection:   # c\nweb:\n", "detection: {thresholds: {Dog: 0.6}}   # c\nweb:\n"),
        ("detection: {}   # c\n", "detection: {thresholds: {Dog: 0.6}}   # c\n"),
        ("detection: {thresholds: ~ }\n", "detection: {thresholds: {Dog: 0.6} }\n"),
        ("detection: {thresholds: {Cat:   0.40,}}", "detection: {thresholds: {Cat:   0.40, Dog: 0.6,}}"),
        (
            "detection:\r\n    hop_s:  0.32  # as is\r\n\r\n    # labels: []\r\nweb:\r\n",
            "detection:\r\n    hop_s:  0.32  # as is\r\n    thresholds:\r\n      Dog: 0.6\r\n\r\n    # labels: []\r\n"
            "web:\r\n",
        ),
        (
            "detection:\n  thresholds:\n     'Dog':  .40   # much\n     Cat: 1e+0\nweb:",
            "detection:\n  thresholds:\n     'Dog':  0.6   # much\n     Cat: 1e+0\nweb:",
        ),
        (
            "cat: &cat 0.3\ndetection:\n  thresholds:\n    Cat: *cat  # Dog: 1\n\n# end",
            "cat: &cat 0.3\ndetection:\n  thresholds:\n    Cat: *cat  # Dog: 1\n    Dog: 0.6\n\n# end",
        ),
        (
            '{\n  "detection": {\n    "thresholds": {\n      "Cat": 0.3\n    }\n  }\n}\n',
            '{\n  "detection": {\n    "thresholds": {\n      "Cat": 0.3,\n      "Dog": 0.6\n    }\n  }\n}\n',
        ),
        ('{"web":null}', '{"web":null, "detection": {"thresholds": {"Dog": 0.6}}}'),
        ("\ufeffweb:\n", "\ufeffweb:\ndetection:\n  thresholds:\n    Dog: 0.6\n"),
    ],
)
def test_one_number_in_files_of_every_style(before, after):
    assert set_dog(before) == after
    assert set_dog(after) == after


def test_an_entry_of_a_list():
    text = "sources:\n- name: yard\n  file: a.wav # a\n# no\n- name: gate\n  detection: {}\n"
    first = set_numbers(text, ["sources", 0, *PATH], {"Dog": 0.6})
    assert first == text.replace("# a\n", "# a\n  detection:\n    thresholds:\n      Dog: 0.6\n")
    assert set_numbers(text, ["sources", 1, *PATH], {"Dog": 0.6}) == text.replace("{}", "{thresholds: {Dog: 0.6}}")


def test_a_number_that_is_there_is_not_written_anew():
    assert set_dog("detection: {thresholds: {Dog: 0.60, Cat: 1}}", Cat=0.00001) == (
        "detection: {thresholds: {Dog: 0.60, Cat: 0.00001}}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "yard: &yard {Dog: 0.3}\ndetection: {thresholds: *yard}",
        "detection: {thresholds: &all {Dog: 0.3}}\nyard: *all",
        "yard: &yard {thresholds: {Cat: 0.3}}\ndetection:\n  <<: *yard\n",
        "dog: &dog 0.3\ndetection: {thresholds: {Dog: *dog}}",
        "detection: {thresholds: {Dog: &dog 0.3}}\ndog: *dog",
        "web:\n...\n",
        "detection: 5",
        "detection: {thresholds: [Dog]}",
        "- detection",
    ],
)
def test_what_would_change_more_is_refused(text):
    with pytest.raises(ValueError, match=r"shared or merged|mapping is in the place"):
        set_dog(text)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1, max_size=12), st.floats(1e-9, 1), min_size=1, max_size=4),
    st.sampled_from(["a: 1\n", "detection: {hop_s: 1}\n", "detection:\n  thresholds:\n    Ü: 0.5\n", '{"a": 1}', ""]),
)
def test_any_label_is_read_back_and_only_lines_are_added(numbers, text):
    edited = set_numbers(text, PATH, numbers)
    assert safe_yaml.load(edited)["detection"]["thresholds"].items() >= numbers.items()
    if "{" not in text:
        kinds = {line[0] for line in difflib.ndiff(text.splitlines(), edited.splitlines())}
        assert kinds <= ({" ", "+"} if "Ü" not in numbers else {" ", "+", "-", "?"})


def test_flow():
    assert flow({"a": {"Cattle, bovinae": 0.5, "no": 1e-7}}) == '{a: {"Cattle, bovinae": 0.5, "no": 0.0000001}}'
