"""Measure whether the tests notice mistakes: python tests/mutate.py dsp|daemon|store [--count 60] [--seed 0]

The script draws a seeded sample of the mistakes that cosmic-ray (pip install cosmic-ray) can put into an area: a sign,
a comparison, a number, a condition. It makes each in a copy of the checkout, runs the tests there, and prints those
that no test noticed. Read these: some change nothing that can be seen, and the rest want a test. Not on Windows.
"""

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

try:
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names
except ImportError:
    sys.exit("mutate.py: cosmic-ray is not installed: pip install cosmic-ray")

ROOT = Path(__file__).parent.parent
AREAS = {
    "dsp": (["runtime/dsp"], ["tests/runtime/dsp", "tests/runtime/test_detector.py"]),
    "daemon": (["runtime/daemon"], ["tests/runtime/daemon"]),
    "store": (
        ["runtime/store", "runtime/daemon/outputs/store.py"],
        ["tests/runtime/store", "tests/runtime/daemon/outputs/test_store.py", "tests/runtime/daemon/test_service.py"],
    ),
}
"""The sources of each area, and the tests that are to notice a mistake in them.

Of the tests in a folder those count for a mistake that mirror its folder or one above it.
"""
SENSIBLE = (
    "Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul|LShift_RShift|RShift_LShift|BitAnd_BitOr|"
    "BitOr_BitAnd|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is|"
    "In_NotIn|NotIn_In|USub_UAdd|Delete_Not|Delete_Invert"
)
"""Of cosmic-ray's replacements of operators, those that a person could write by mistake."""
LEAST_S, FACTOR = 60.0, 4.0
"""A mutant's tests may last a minute and four times as long as those of the sources as they are."""


def kind_of(operator):
    """Return the kind of a replacement; None where nobody would make it."""
    name = operator.rpartition("/")[2]
    if found := re.fullmatch(rf"Replace(Binary|Comparison|Unary)Operator_({SENSIBLE})", name):
        return found[1]
    return None if re.search("Operator_|Variable|NoOp", name) else name


def chooser(source):
    """Return a function that says whether a kind of replacement at a position can have an effect.

    Annotations have none, but for calls in them, Field(gt=0); a star or a stroke may be no operator.
    """
    nodes = list(ast.walk(ast.parse(source)))
    types = [getattr(node, "annotation", None) or getattr(node, "returns", None) for node in nodes]
    types += [node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    calls = [part for node in filter(None, types) for part in ast.walk(node) if isinstance(part, ast.Call)]
    operations = [node for node in nodes if isinstance(node, ast.BinOp | ast.AugAssign)]

    def within(parts, at):
        return any((x.lineno, x.col_offset) <= at < (x.end_lineno, x.end_col_offset) for x in filter(None, parts))

    def wanted(kind, at):
        return (not within(types, at) or within(calls, at)) and (kind != "Binary" or within(operations, at))

    return wanted


def find_files(top, pattern="*.py"):
    """Return the Python files in a folder, or one by its name; from the root."""
    found = [ROOT / top] if top.endswith(".py") else sorted((ROOT / top).rglob(pattern))
    return [str(path.relative_to(ROOT)) for path in found]


def find_sites(path):
    """Return the mutants of a file by site: its position and the kind of replacement, each as (operator, number)."""
    source = (ROOT / path).read_text()
    nodes, wanted, sites = list(ast_nodes(get_ast(source))), chooser(source), defaultdict(list)
    for name in sorted(filter(kind_of, operator_names())):
        operator = get_operator(name)()
        starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
        for number, start in enumerate(starts):
            if wanted(kind_of(name), start):
                sites[path, start, kind_of(name)].append((name, number))
    return sites


def draw(area, count, seed):
    """Yield mutants of an area, each site equally likely: the file, its text with the mistake, and what is shown."""
    files = [path for top in AREAS[area][0] for path in find_files(top)]
    sites = {key: value for path in files for key, value in find_sites(path).items()}
    order = random.Random(seed)
    for site in order.sample(sorted(sites), min(count, len(sites))):
        (path, start, kind), (name, number) = site, order.choice(sites[site])
        source = (ROOT / path).read_text()
        mutated = mutate_code(source, get_operator(name)(), number)
        before, after = (" ".join(text.splitlines()[start[0] - 1].split()) for text in (source, mutated))
        after = "nothing" if kind == "RemoveDecorator" else after
        yield path, mutated, f"{path}:{start[0]}  {before}  ->  {after}"


class Copy:
    """A copy of the checkout, and its tests."""

    def __init__(self, folder) -> None:
        self.root, self.seconds, self.named = Path(folder) / "copy", {}, set()
        self._environment = {**os.environ, "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        listed = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, text=True)
        for path in filter(None, listed.split("\0")):
            if (ROOT / path).is_file():
                (self.root / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / path, self.root / path)
        command = [sys.executable, "-c", "import htsat_edge.runtime; print(htsat_edge.runtime.__file__)"]
        found = subprocess.check_output(command, cwd=folder, env=self._environment, text=True).strip()
        if Path(found) != self.root / "runtime" / "__init__.py":
            sys.exit(f"mutate.py: {found} would be tested instead of the copy")

    def run(self, tests, limit_s=None):
        """Return pytest's exit status, None where it took too long; end every process that the tests left."""
        command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "--tb=no", *tests]
        command.append(f"--basetemp={self.root.parent / 't'}")
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=self.root, env=self._environment, start_new_session=True, **silent)
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            with suppress(ProcessLookupError):  # nothing is left
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def measure(self, tests):
        """Run the tests of the sources as they are, and note how long those of each file take."""
        self.named = {top for top in tests if top.endswith(".py")}
        for test in [path for top in tests for path in find_files(top, "test_*.py")]:
            begun = time.monotonic()
            if self.run([test]):
                sys.exit(f"mutate.py: {test} fails without a mistake")
            self.seconds[test] = time.monotonic() - begun

    def verdict(self, file, mutated):
        """Return whether the file's own tests, or else the others of the area, notice the mistake."""
        path, original = self.root / file, (self.root / file).read_text()
        folder, _, name = file.rpartition("/")
        own = [test for test in self.seconds if test == f"tests/{folder}/test_{name}"]
        near = {test for test in self.seconds if f"tests/{folder}/".startswith(f"{Path(test).parent}/")}
        others = sorted((near | self.named) - {*own}, key=self.seconds.__getitem__)
        path.write_text(mutated)
        try:
            for tests in filter(None, (own, others)):
                status = self.run(tests, LEAST_S + FACTOR * sum(self.seconds[test] for test in tests))
                if status != 0:
                    return "timeout" if status is None else "killed"
        finally:
            path.write_text(original)
        return "survived"


def main():
    parser = argparse.ArgumentParser(description="Measure whether the tests notice mistakes.")
    parser.add_argument("area", choices=AREAS)
    parser.add_argument("--count", type=int, default=60, help="mistakes to make")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    verdicts, survivors = [], []
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        mutants, copy = list(draw(args.area, args.count, args.seed)), Copy(folder)
        copy.measure(AREAS[args.area][1])
        for number, (file, mutated, shown) in enumerate(mutants, 1):
            begun = time.monotonic()
            verdicts.append(copy.verdict(file, mutated))
            survivors += [shown] if verdicts[-1] == "survived" else []
            print(f"{number:3}  {time.monotonic() - begun:4.0f} s  {verdicts[-1]:8}  {shown}", flush=True)
    noticed = len(verdicts) - len(survivors)
    print(f"{args.area}: {noticed} of {len(verdicts)} noticed, {verdicts.count('timeout')} of them as nothing ended")
    for shown in survivors:
        print(shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
