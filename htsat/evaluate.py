"""Measure a trained model on held recordings, and choose its thresholds.

python -m htsat_edge.htsat.evaluate RUN --data FOLDER

It writes into RUN: figures.json with every figure; report.html, a page to look at before a model is shipped; and for a
training on scenes, thresholds.json for `export/to_onnx.py --thresholds`. One on clips is measured on whole clips.
"""

from __future__ import annotations

from htsat_edge.runtime.common.interrupt import end_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from htsat_edge.runtime.common.command import Parser, refuse_without_extra, run

try:
    import numpy as np
    import torch
    from torch import nn

    from htsat_edge.htsat.judging import Quiet, Streamed, judge
except Exception as error:  # it may be there, and broken
    if __name__ != "__main__":
        raise
    refuse_without_extra("htsat_edge.htsat.evaluate", "train", error)

from htsat_edge.evaluation.datasets.options import add_options
from htsat_edge.evaluation.labels import BACKGROUND
from htsat_edge.evaluation.tuning import Tuning
from htsat_edge.htsat.checkpoint import load_network
from htsat_edge.htsat.clip_figures import ClipResults, apply_to_clips, judge_clips, write_clip_page
from htsat_edge.htsat.clips import LabelledClip, Spectrograms
from htsat_edge.htsat.config import read_network
from htsat_edge.htsat.corpus import Recording, read_corpora
from htsat_edge.htsat.doubts import count_held, doubts_of_data
from htsat_edge.htsat.figures import apply, held_scenes, labelled, other_sounds, room_tone, score_windows
from htsat_edge.htsat.foreign import OtherSounds, background, hear, model_of
from htsat_edge.htsat.negatives import load_negatives
from htsat_edge.htsat.network import STEPS
from htsat_edge.htsat.report import Results, write_page
from htsat_edge.htsat.scenes import Sound, load_sounds
from htsat_edge.htsat.settings import RunFolder, TrainConfig
from htsat_edge.htsat.sources import read_clips
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.files import refuse_unwritable, replacing
from htsat_edge.runtime.dsp.log_mel import FrontEnd

SCENES = 500
HOUR = 352
"""Windows in an hour."""


def measure(args: argparse.Namespace) -> int:
    """Run the command: measure a training."""
    folder = RunFolder(args.run)
    if folder.path.is_dir():
        refuse_unwritable(folder.figures)
    print("measuring: takes a few minutes", flush=True)
    if (args.examples or folder.read_examples()) == "clips":
        print(measure_clips(folder, read_clips(args.data, args.dataset, args.fold)).text())
        export = [*export_command(folder), "--name", "mine", "--out", "mine"]
    else:
        results = measure_scenes(folder, read_corpora(args.data, args.dataset, args.fold))
        print(results.text())
        export = [*export_command(folder), "--thresholds", str(folder.thresholds), "--name", "mine", "--out", "mine"]
    print(f"by class, with plots: {folder.page}")
    print(f"next: {shlex.join(export)}")
    return 0


def export_command(folder: RunFolder) -> list[str]:
    """Return the command that makes a bundle of a training, without its last options."""
    own = ["--network", str(folder.network), "--labels", str(folder.labels)]
    return ["python", "export/to_onnx.py", str(folder.model), *own]


def read_shipped(folder: RunFolder, front_end: FrontEnd, labels: Sequence[str]) -> OtherSounds:
    """Return what ships of sounds that are none of the labels; thresholds are chosen by them where training used them.

    Trainings without them choose as they did before there were any, but are measured on them, too.
    """
    training = read_yaml(folder.training, TrainConfig) if folder.training.exists() else None
    negatives = load_negatives(front_end, [*labels, *(training.not_negative if training else ())])
    if negatives is None:
        return OtherSounds()
    if training is not None and training.mixes_negatives:
        return OtherSounds(negatives.sounds("val"), negatives.sounds("test"))
    return OtherSounds((), background(negatives.sounds("test"), wanted=False))


def measure_scenes(folder: RunFolder, corpus: Sequence[Recording]) -> Results:
    """Measure a training on its held parts of recordings and on scenes of them; write what the command writes."""
    config, labels = read_network(folder.network), folder.read_labels()
    network = load_network(folder.model, config)
    held = folder.still_held(corpus)
    if not {r.label for r in held}.intersection(labels):
        raise HtsatEdgeError(f"{folder.path}: none of its labels has a held recording in --data")
    backgrounds = [r for r in corpus if r.label == BACKGROUND and r not in held]
    sounds = load_sounds([*held, *backgrounds], config.front_end, "reading", speeds=(1.0,))
    scenes = held_scenes(sounds, labels, config.front_end, SCENES)
    shipped = read_shipped(folder, config.front_end, labels)
    quiet = score_quiet(network, sounds, shipped, labels, config.front_end)
    model = model_of(config.front_end, labels)
    own_others = [sound for sound in background(sounds, wanted=False) if sound.recording.label not in labels]
    counted = [*background(shipped.counted, wanted=False), *own_others]
    streamed = Streamed(
        held=hear(network, labelled(sounds, labels), model, "playing what was held back"),
        chosen_by=hear(network, background(shipped.chosen_by, wanted=False), model, "playing other sounds"),
        foreign=hear(network, counted, model, "playing other sounds, to count"),
    )
    outputs = apply(network, sounds, scenes, labels, "hearing scenes")
    results = judge(outputs, quiet, streamed, sounds, scenes, model)
    results = results.model_copy(update={"data_doubts": doubts_of(corpus, held, labels)})
    tuning = Tuning(
        thresholds={c.label: c.threshold for c in results.classes},
        median_steps={c.label: c.median_steps for c in results.classes},
    )
    tuning.write(folder.thresholds)
    write_results(folder, results)
    with replacing(folder.page) as part:
        write_page(part, results, folder.read_curve())
    return results


def doubts_of(corpus: Sequence[Recording], held: Sequence[Recording], labels: Sequence[str]) -> list[str]:
    """Return what speaks against the recordings that a training was given."""
    others = {r.label for r in corpus} - {BACKGROUND}
    backgrounds = sum(r.label == BACKGROUND for r in corpus)
    return doubts_of_data(len(others), backgrounds, count_held(labels, corpus, held))


def score_quiet(
    network: nn.Module, sounds: Sequence[Sound], shipped: OtherSounds, labels: Sequence[str], front_end: FrontEnd
) -> Quiet:
    """Score an hour each of what holds no sound of any class."""

    def hour(seed: int, backgrounds: Sequence[Sound] = ()) -> FloatArray:
        windows = room_tone(front_end, HOUR, seed, backgrounds)
        task = "hearing recorded backgrounds" if backgrounds else "hearing noise"
        return score_windows(network, [window.log_mel for window in windows], task)[0][..., : len(labels)]

    recorded = [sound for sound in sounds if sound.recording.label == BACKGROUND]
    learned = [sound for sound in recorded if not sound.recording.held] + background(shipped.chosen_by, wanted=True)
    unheard = [sound for sound in recorded if sound.recording.held] + background(shipped.counted, wanted=True)
    learned, unheard = learned or recorded, unheard or recorded
    others = [scene.log_mel for scene in other_sounds([*sounds, *shipped.chosen_by], labels, front_end, HOUR)]
    return Quiet(
        tone=(hour(1), hour(2)),
        ambience=(hour(4, learned), hour(3, unheard)) if learned else None,
        others=score_windows(network, others, "hearing other sounds")[0]
        if others
        else np.zeros((0, STEPS, len(labels)), np.float32),
    )


def measure_clips(folder: RunFolder, clips: Sequence[LabelledClip]) -> ClipResults:
    """Measure a training on its held clips, whole; write figures and page."""
    config, labels = read_network(folder.network), folder.read_labels()
    network = load_network(folder.model, config)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    held = folder.still_held([clip for clip in clips if clip.held], whole=True)
    if not any(clip.labels.intersection(labels) for clip in held):
        raise HtsatEdgeError(f"{folder.path}: none of its labels has a held recording in --data")
    spectrograms = Spectrograms(held, config.front_end, "reading")
    workers = 0 if spectrograms.in_memory else os.cpu_count() or 0
    results = judge_clips(apply_to_clips(network, spectrograms, held, labels, workers), held, labels)
    write_results(folder, results)
    with replacing(folder.page) as part:
        write_clip_page(part, results, folder.read_curve())
    return results


def write_results(folder: RunFolder, results: Results | ClipResults) -> None:
    """Write the figures."""
    with replacing(folder.figures) as part:
        part.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = Parser(
        prog="python -m htsat_edge.htsat.evaluate", description="Measure a model, and choose its thresholds."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder that htsat_edge.htsat.train wrote")
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="the folders of recordings that it was trained on",
    )
    add_options(parser)
    parser.add_argument(
        "--examples",
        choices=["scenes", "clips"],
        help="what to measure on (default: what it was trained on): scenes and parts of recordings, or whole clips",
    )
    args = parser.parse_args(arguments)
    return run(parser.prog, lambda: measure(args))


if __name__ == "__main__":
    sys.exit(main())
