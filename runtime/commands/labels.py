"""`htsat-edge labels`: the sounds that a model knows, with the scores from which on they are reported."""

from __future__ import annotations

import argparse
import csv
import json
import logging
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.models.bundle import BUNDLED, DEFAULT_THRESHOLD, ModelInfo, find_ancestors
from htsat_edge.runtime.models.levels import BALANCED, SENSITIVITIES
from htsat_edge.runtime.models.model import Model, load_model, refuse_no_sounds

AUDIOSET = CONFIGS / "labels" / "audioset.csv"
"""The tree that a word is looked up in, since few models have one of their own."""
logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    refuse_no_sounds(args.sounds)
    model = load_model(args.bundle or BUNDLED, args.sounds)
    for note in model.sounds.notes():
        logger.warning(note)
    found = dict.fromkeys(model.info.labels, "") if args.search is None else search(args.search, model.info)
    if args.json:
        for label in found:
            print(json.dumps(describe(label, model), ensure_ascii=False))
    else:
        print_labels(Console(), model, found, args.search)
    return 0


def search(text: str, info: ModelInfo) -> dict[str, str]:
    """Return the labels that a text is in the name of, or of what lies above or below them, each with why it is.

    That is by AudioSet's tree, and the model's own: dog finds Bark, which lies below Dog, and ambulance finds Siren.
    """
    word, tree = text.casefold(), {**_read_tree(), **info.parents}
    found: dict[str, str] = {}
    for label in info.labels:
        if word in label.casefold():
            found[label] = ""
        elif above := _named(word, find_ancestors(label, tree)):
            found[label] = f"below {above[0]}"
        elif below := _named(word, (name for name in tree if label in find_ancestors(name, tree))):
            found[label] = f"above {below[0]}"
    return found


def describe(label: str, model: Model) -> dict[str, object]:
    """Return what there is to know of a label."""
    info = model.info
    return {
        "label": label,
        "threshold": info.threshold_of(label),
        "few_false_alarms": info.threshold_of(label, "few_false_alarms"),
        "miss_little": info.threshold_of(label, "miss_little"),
        "enrolled": label in enrolled(model),
        "parents": info.parents.get(label, []),
    }


def enrolled(model: Model) -> set[str]:
    """Return the labels that are sounds of the user's own."""
    return {sound.label for _, sound in model.sounds.known}


def print_labels(console: Console, model: Model, found: Mapping[str, str], word: str | None) -> None:
    """Print a table, and what its columns mean."""
    info, own = model.info, enrolled(model)
    name = visible(info.name)
    if not found:
        console.print(
            f"{name} knows no sound with {word!r} in its name; `htsat-edge labels` lists what it knows, "
            "and `htsat-edge enroll` teaches it one more",
            markup=False,
        )
        return
    levels = SENSITIVITIES if info.levels is not None else (BALANCED,)
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column("sound")
    for level in levels:
        table.add_column(level.replace("_", " ") if len(levels) > 1 else "threshold", justify="right")
    table.add_column("in AudioSet's tree" if any(found.values()) else "")
    for label, reason in found.items():
        scores = (f"{info.threshold_of(label, level):.2f}" for level in levels)
        shown = Text(visible(label)).append(" (your own)" if label in own else "", style="dim")
        table.add_row(shown, *scores, Text(reason, style="dim"))
    console.print(table)
    console.print(f"\n{_explain(info, found, len(levels) > 1)}", markup=False, highlight=False)


def _explain(info: ModelInfo, found: Mapping[str, str], levels: bool) -> str:
    text = f"{len(found)} of the {len(info.labels)} sounds of {visible(info.name)}. "
    if levels:
        text += "Each is reported from its score under balanced on; `htsat-edge detect --sensitivity …`, and in the "
        text += "daemon's configuration `detection: {sensitivity: …}`, take another column."
    else:
        text += "Each is reported from this score on."
    plain = [label for label in found if label not in info.thresholds]
    if plain:
        text += f" No threshold was measured for {len(plain)} of them: they have {DEFAULT_THRESHOLD:g}."
    return text


def _named(word: str, names: Iterable[str]) -> Sequence[str]:
    return sorted(name for name in names if word in name.casefold())


def _read_tree() -> dict[str, list[str]]:
    """Return AudioSet's labels, each with those one level up."""
    with AUDIOSET.open(encoding="utf-8", newline="") as file:
        return {row["label"]: [one for one in row["parents"].split(";") if one] for row in csv.DictReader(file)}
