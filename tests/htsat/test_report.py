import re

import pytest

from htsat_edge.htsat.report import ClassFigures, ForeignFigures, Interval, Results, write_page

FIGURES = {
    name: Interval(value=0.5, low=0.4, high=0.6)
    for name in ("accuracy", "clip_ap", "frame_ap", "segment_f1", "event_f1")
}


def results(labels, confusion):
    classes = [
        ClassFigures(label=label, recordings=sum(row), groups=1, threshold=0.5, median_steps=1, figures=FIGURES)
        for label, row in zip(labels, confusion, strict=True)
    ]
    return Results(
        figures=FIGURES,
        psds1=0.1,
        psds2=0.2,
        rises_in_noise=dict.fromkeys(labels, 0),
        rises_in_ambience=None,
        classes=classes,
        confusion=confusion,
    )


def test_what_is_confused_most_comes_first():
    found = results(["a", "b", "c"], [[3, 1, 0], [0, 2, 4], [0, 0, 0]])
    assert found.confused() == [(4, "b", "c"), (1, "a", "b")]


def test_the_line_names_what_nothing_is_held_of():
    assert "nothing is held" not in results(["a"], [[3]]).line()
    assert "(nothing is held of b)" in results(["a", "b"], [[3, 0], [0, 0]]).line()


def test_any_name_of_a_class_can_be_drawn(tmp_path):
    row = {"step": 1.0, "loss": 1.0, "accuracy": 0.1, "clip_map": 0.1, "frame_map": 0.1}
    write_page(tmp_path / "x.html", results(["$%$", "雨", "<b>&"], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]), [row])
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "$%$" in page
    assert "雨" in page
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def test_figures_of_few_recordings_have_no_interval_on_the_page(tmp_path):
    row = {"step": 1.0, "loss": 1.0, "accuracy": 0.1}
    write_page(tmp_path / "x.html", results(["a", "b"], [[4, 0], [0, 5]]), [row])
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert page.count("<td>0.50 (–)</td>") == 5
    assert page.count("<td>0.50 (0.40–0.60)</td>") == 5 + 5


@pytest.mark.parametrize(("fired", "loud"), [(5, []), (6, ["warning"])])
def test_foreign_sounds_that_fire_and_doubts_stand_at_the_top(tmp_path, fired, loud):
    foreign = ForeignFigures(
        recordings=100,
        groups=9,
        fired=fired,
        share=Interval(value=fired / 100, low=0, high=0.1),
        reported={"a": fired},
        kinds={"<Owl>": (fired, 60), "Saw": (0, 40)},
    )
    found = results(["a"], [[3]]).model_copy(update={"foreign": foreign, "data_doubts": ["Too few."]})
    row = {"step": 1.0, "loss": 1.0, "accuracy": 0.1}
    write_page(tmp_path / "x.html", found, [row])
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    top = page[page.index("<h1>") : page.index("At run time")]
    assert re.findall(r'<p class="(\w+)">', top) == [*loud, "doubt"]
    assert "&lt;Owl&gt;</td>" in page
    assert "Saw</td>" not in page
    text = found.text()
    assert f"{fired} of 100 recordings of 2 other kinds of sound raise an event ({fired}.0 %; 0–10 %)" in text
    assert text.count("warning: ") == len(loud) + 1
