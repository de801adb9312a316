import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from htsat_edge.runtime.common.safe_yaml import MOST_NODES, load


def test_plain_data_is_that_of_pyyaml():
    text = "a: 1\nb: [x, 2.5, null, true]\nc: {d: 'e'}\n2026-05-01: 3\n"
    assert load(text) == yaml.safe_load(text)
    assert load("") is load("# nothing\n") is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_plain_data_of_any_shape_is_that_of_pyyaml(content):
    text = yaml.safe_dump(content, allow_unicode=True)
    assert load(text) == yaml.safe_load(text)


def test_names_for_what_is_repeated_stay_useful():
    text = "base: &base {rate: 1, gate: 2}\nfirst: {<<: *base, gate: 3}\nsecond: *base\n"
    assert load(text)["first"] == {"rate": 1, "gate": 3}
    assert load(text)["second"] == {"rate": 1, "gate": 2}


def test_what_was_merged_may_be_merged_again():
    """A merge puts the keys of what it names beside those that stand there."""
    text = "base: &base {rate: 1}\np: {q: &x {<<: *base, rate: 2}}\nb: {<<: *x}\n"
    assert load(text) == {"base": {"rate": 1}, "p": {"q": {"rate": 2}}, "b": {"rate": 2}}


def test_a_number_and_its_text_are_two_keys():
    assert load("1: a\n'1': b\n") == {1: "a", "1": "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key 'a' is there twice\n.*line 3"),
        ("- {x: {y: 1, y: 2}}\n", "the key 'y' is there twice"),
        ("base: &base {k: 1}\na: {<<: *base, k: 2, k: 3}\n", "the key 'k' is there twice\n.*line 2"),
        ("1: a\n1: b\n", "the key '1' is there twice"),
        ("a: &a [*a]\n", "what is named on line 1 repeats itself within itself"),
        ("a: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        ("a: 1\n---\na: 2\n", "expected a single document"),
        ("a: [\n", "expected the node content"),
    ],
)
def test_what_is_refused(text, message):
    with pytest.raises(yaml.YAMLError, match=r"(?s)" + message):
        load(text)


def test_a_small_file_never_becomes_a_large_one():
    """A billion values in 300 bytes; PyYAML shares them, but whoever checks or prints them meets each."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(yaml.YAMLError, match=f"more than {MOST_NODES} values"):
        load("\n".join(rows))
    assert len(load("\n".join(rows[:4]))["a3"]) == 10
