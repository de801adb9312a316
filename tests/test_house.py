"""The structure of the project, as docs/architecture.md draws it: arrows go one way, and everything fits in the eye."""

import ast
import re
import runpy
import sys
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("configs", "runtime", "evaluation", "calibration", "htsat", "export")
"""From the ground up: each may import those before it."""
ROOMS = (
    "common",
    "dsp",
    "models",
    "detector",
    "enrolment",
    "store",
    "daemon",
    "tuning",
    "fleet",
    "web",
    "archive",
    "commands",
)
"""The same within runtime/."""
SOURCES = {
    ".".join(["htsat_edge", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__"): path
    for floor in FLOORS
    for path in sorted((ROOT / floor).rglob("*.py"))
}
"""Every module by name."""
MOST_LINES, MOST_FUNCTION_LINES, MOST_ENTRIES = 350, 50, 15


def imports(name, path):
    """The modules of ours that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in SOURCES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in SOURCES or node.module in SOURCES:
                    yield inner if inner in SOURCES else node.module


GRAPH = {name: sorted(set(imports(name, path)) - {name}) for name, path in SOURCES.items()}


def rank(name, order, position):
    parts = name.split(".")
    return order.index(parts[position]) if len(parts) > position and parts[position] in order else None


def test_the_graph_is_not_empty():
    assert len(SOURCES) > 100
    assert "htsat_edge.runtime.dsp.windows" in GRAPH["htsat_edge.runtime.detector"]
    assert "htsat_edge.evaluation.labels" in GRAPH["htsat_edge.htsat.scenes"]


@pytest.mark.parametrize(("order", "position"), [(FLOORS, 1), (ROOMS, 2)], ids=["floors", "rooms of runtime"])
def test_no_arrow_goes_upward(order, position):
    upward = [
        f"{name} -> {other}"
        for name, others in GRAPH.items()
        for other in others
        if (own := rank(name, order, position)) is not None
        and (theirs := rank(other, order, position)) is not None
        and theirs > own
        and (position == 1 or name.split(".")[1] == other.split(".")[1] == "runtime")
    ]
    assert upward == []


def test_no_import_circle():
    """Tarjan: every strongly connected part of the graph is one module."""
    index, low, stack, circles = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in GRAPH[name]:
            if other not in index:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == index[name]:
            part = [stack.pop()]
            while part[-1] != name:
                part.append(stack.pop())
            if len(part) > 1:
                circles.append(sorted(part))

    for name in GRAPH:
        if name not in index:
            visit(name)
    assert circles == []


@pytest.mark.parametrize("folder", [*FLOORS, "htsat_edge", "tests"])
def test_no_file_is_too_long(folder):
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("folder", [*FLOORS, "htsat_edge"])
def test_no_function_is_too_long(folder):
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno >= MOST_FUNCTION_LINES
    }
    assert long == {}


def test_few_entries_at_the_root_of_runtime():
    entries = [path.name for path in (ROOT / "runtime").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES


@pytest.mark.parametrize("folder", ["export", "calibration"])
def test_nothing_beside_a_script_hides_a_library(folder):
    """A script's own folder is looked in first: torch took export/triton for its compiler."""
    names = {path.stem for path in (ROOT / folder).iterdir()}
    assert names & {*sys.stdlib_module_names, *packages_distributions(), "triton", "tensorrt", "pycuda"} == set()


def test_classes_have_one_meaning():
    """A class name that stands in two places makes a reader ask which."""
    homes = defaultdict(list)
    for name, path in SOURCES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_only_one_module_names_programs():
    """Which parts the runtime starts as processes is in one place."""
    naming = [
        name
        for name, path in SOURCES.items()
        if name.startswith("htsat_edge.runtime") and "sys.executable" in path.read_text()
    ]
    assert naming == ["htsat_edge.runtime.common.programs"]


def test_every_requirement_has_a_minimum(monkeypatch):
    """`make test-oldest` proves them; of what has none it would take the first release that there ever was."""
    said = {}
    setuptools = pytest.importorskip("setuptools")
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: said.update(keywords))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    needed = {*said["install_requires"], *(line for lines in said["extras_require"].values() for line in lines)}
    assert len(needed) > 20
    assert [line for line in sorted(needed) if ">=" not in line] == []


def test_docstrings_open_with_a_verb():
    """Of functions: "Return the …", not "The …" or "What …"."""
    noun = re.compile(
        r"^(The|A|An|What|Whether|Of|Where|How|Which|Who|Why|When|Such|Those|These|This|All|Each|Every|One)\b"
    )
    found = [
        f"{name}:{node.name}: {doc.splitlines()[0]}"
        for name, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and (doc := ast.get_docstring(node))
        and noun.match(doc)
        and not any(
            getattr(d, "id", getattr(d, "attr", "")) in ("property", "cached_property") for d in node.decorator_list
        )
    ]
    assert found == []
