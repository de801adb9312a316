"""Write the bundled model's card and the licences of its data: python -m htsat_edge.htsat.card RUN --out BUNDLE.

RUN is a training that was evaluated. The prose around its figures stands in configs/cards/bundled.md.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run

try:
    from htsat_edge.evaluation import report as accuracy_report
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("htsat_edge.htsat.card", "train", error)

from htsat_edge.configs import CONFIGS
from htsat_edge.evaluation.budget import Accuracy
from htsat_edge.htsat.report import SHORT, Results
from htsat_edge.htsat.settings import RunFolder
from htsat_edge.runtime.common.config import read_csv, read_json, read_text
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import replacing, sha256_of
from htsat_edge.runtime.models.bundle import ACCURACY_FILE, load_bundle
from htsat_edge.runtime.models.levels import SensitivityLevels

TEMPLATE = CONFIGS / "cards" / "bundled.md"
MANIFEST = CONFIGS / "corpus.csv"
NAMED = 3
"""Most attributions of a package that are written out; the manifest has all."""
CONFUSED = 12
LICENCES = """# Licences of the training data

The bundled model was trained and measured on the recordings below, all from Debian 12 main, cut to their active part,
mixed to one channel, resampled to 32 kHz and mixed into scenes, and on synthetic alarms of `htsat/alarms.py`. None of
the recordings is part of the model or is kept in this repository, but for the six of the demo
(`tests/data/recordings`).
Licences are those that each package declares in its Debian copyright file; whether an upstream project really had the
rights to an old sample was not checked. The path, licence and authors of each recording are in `configs/corpus.csv`.
Where there are many authors, `/usr/share/doc/PACKAGE/copyright` names all of them.

`negatives.npz` holds what the network makes of some of these recordings, and of an hour of background that is mixed
from them.

"""


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def card(
    template: str,
    results: Results,
    accuracy: Accuracy,
    corpora: Sequence[Path],
    thresholds: Mapping[str, float],
    levels: SensitivityLevels | None = None,
) -> str:
    """Return the template with the figures of a training, and of the graphs made from it.

    `corpora` are the manifests that it learned from; recordings without a package are synthetic. `thresholds` are those
    of the bundle, which calibration/thresholds.py may have chosen again, and `levels` what calibration/levels.py put
    beside them.
    """
    rows = read_rows(corpora)
    synthetic = [row for row in rows if not row.get("package")]
    recorded = [row for row in rows if row.get("package")]
    learned = Counter(row["class"] for row in rows if row["split"] == "train")
    own = [(learned[c.label], c.recordings, c.groups, *(c.figures[name] for name in SHORT)) for c in results.classes]
    classes = [[c.label, *row, f"{thresholds[c.label]:.2f}"] for c, row in zip(results.classes, own, strict=True)]
    confused = results.confused()
    try:
        return template.format(
            train=sum(row["split"] == "train" for row in recorded),
            held=sum(row["split"] == "val" for row in recorded),
            synthetic=len(synthetic),
            synthetic_held=sum(row["split"] == "val" for row in synthetic),
            packages=len({row["package"] for row in recorded}),
            judged=sum(c.recordings for c in results.classes),
            figures=table(["figure", "value (90 % of resamples)"], results.table()),
            classes=table(["class", "learned from", "held", "packs", *SHORT.values(), "threshold"], classes),
            levels=describe_levels(levels),
            confused=table(
                ["recordings of", "classified as", "how many"],
                [[own, other, n] for n, own, other in confused[:CONFUSED]],
            ),
            errors=sum(n for n, _, _ in confused),
            ambience=results.most_rises_in_ambience(),
            scenes=f"{accuracy.recordings} scenes, {60 * accuracy.hours:.0f} minutes",
            quantised=table(["", *accuracy.graphs], accuracy_report.rows(accuracy)),
        )
    except (KeyError, IndexError, ValueError) as error:
        raise HtsatEdgeError(f"{TEMPLATE}: has an unknown placeholder: {error}") from None


def read_rows(corpora: Sequence[Path]) -> list[dict[str, str]]:
    """Return a row of the manifests for each recording of a class; some have several parts."""
    parts = [row for path in corpora for row in read_csv(path, ["file", "class", "split"])]
    return list({(row["file"], row["class"]): row for row in parts}.values())


def describe_levels(levels: SensitivityLevels | None) -> str:
    """Return the thresholds at each level of sensitivity, with their false alarms, in Markdown."""
    if levels is None:
        return "None was measured: every class has its threshold at each of them."
    rows = []
    for label, own in levels.classes.items():
        few, balanced, little = (
            f"{one.threshold:g}: {one.false_alarms_per_h:g} ({one.at_most_per_h:g})"
            for one in (own.few_false_alarms, own.balanced, own.miss_little)
        )
        rows.append([label, "=" if few == balanced else few, balanced, "=" if little == balanced else little])
    stricter, missing_less = (sum(row[column] != "=" for row in rows) for column in (1, 3))
    known = f"Classes with a stricter threshold than balanced: {stricter} of {len(rows)}; "
    known += f"with one that misses less: {missing_less}."
    return f"Background: {levels.hours:.1f} h of {levels.material}.\n{known}\n\n" + table(
        ["class", "few false alarms", "balanced", "miss little"], rows
    )


def licences(manifest: Path) -> str:
    """Return the licences of the recordings, by package, in Markdown."""
    by_package: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_csv(manifest, ["package", "version", "licence", "attribution"]):
        by_package[row["package"]].append(row)
    lines = []
    for package, rows in sorted(by_package.items(), key=lambda item: (-len(item[1]), item[0])):
        kinds = Counter(row["licence"] for row in rows).most_common()
        authors = [name for name, _ in Counter(row["attribution"] for row in rows).most_common()]
        more = [f"and {len(authors) - NAMED} more in configs/corpus.csv"] if len(authors) > NAMED else []
        named = kinds[0][0] if len(kinds) == 1 else ", ".join(f"{kind} ({count})" for kind, count in kinds)
        lines.append([package, rows[0]["version"], len(rows), named, "; ".join(authors[:NAMED] + more)])
    return LICENCES + table(["package", "version", "recordings", "licences", "by"], lines) + "\n"


def write(args: argparse.Namespace) -> int:
    """Run the command: write the card and the licences."""
    folder = RunFolder(args.run)
    results = read_json(folder.figures, Results)
    bundle = load_bundle(args.out)
    if sha256_of(folder.model) != bundle.info.provenance["checkpoint_sha256"]:
        raise HtsatEdgeError(
            f"{args.out}: holds other weights than {args.run}, which was evaluated; export those first"
        )
    if bundle.info.thresholds.keys() != {c.label for c in results.classes}:
        raise HtsatEdgeError(f"{args.out}: has not the thresholds of {args.run}; export with --thresholds")
    accuracy = read_json(args.out / ACCURACY_FILE, Accuracy)
    for name, measured in accuracy.graphs.items():
        if measured.sha256 != bundle.sha256(name):
            raise HtsatEdgeError(
                f"{args.out / ACCURACY_FILE}: is of another {name}.onnx; "
                "run python -m htsat_edge.calibration.accuracy again"
            )
    manifests = [folder / "manifest.csv" for folder in args.data]
    text = card(read_text(TEMPLATE), results, accuracy, manifests, bundle.info.thresholds, bundle.info.levels)
    for name, content in {"MODEL_CARD.md": text, "LICENCES.md": licences(MANIFEST)}.items():
        with replacing(args.out / name) as part:
            part.write_text(content, encoding="utf-8")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(prog="python -m htsat_edge.htsat.card", description="Write the bundled model's card and licences.")
    parser.add_argument("run", type=Path, metavar="RUN", help="a training that htsat_edge.htsat.evaluate has measured")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="the corpora that htsat_edge.htsat.build_corpus and htsat_edge.htsat.alarms made",
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of the bundle")
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: write(args))


if __name__ == "__main__":
    sys.exit(main())
