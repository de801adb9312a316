"""Hear recordings, whole or span by span; what is found is the same either way, and that of `htsat-edge detect`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from htsat_edge.runtime.archive.quality import QualityMeter, join
from htsat_edge.runtime.archive.recorded import read_origin
from htsat_edge.runtime.archive.records import FoundEvent, FoundInRecording, HearingSettings, Span, SpanScores
from htsat_edge.runtime.archive.spans import ScoreBlock, ScorePacker, take_turns, unpack, write_scores
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import visible
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.daemon.scorer import MOST_WINDOWS, Scorer
from htsat_edge.runtime.detector import WindowStream
from htsat_edge.runtime.dsp.audio import AudioFile
from htsat_edge.runtime.dsp.channels import Channel, channel_number
from htsat_edge.runtime.dsp.events import EventEnd
from htsat_edge.runtime.dsp.tracker import EventTracker
from htsat_edge.runtime.dsp.windows import Window
from htsat_edge.runtime.event_stream import ScoreStream
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.model import load_model
from htsat_edge.runtime.models.sounds import SoundsBackend

READ_S = 1
"""Read at a time, as `detect` does: what is heard of a damaged recording ends with such a block."""
BLOCK_S = 10
"""Heard at a time."""
LONGER = 1.5
"""Recordings of more than so many spans are cut."""
DEPENDENT = ("mix", "loudest")
"""What is made of several channels by all that was heard before: such recordings are not cut."""


class SpanHearer:
    """A model that hears recordings. Use it from one thread only."""

    def __init__(self, settings: HearingSettings, threads: int = 1, backend: Backend | None = None) -> None:
        """Load the model.

        Parameters
        ----------
        settings
            How recordings are heard.
        threads
            Of onnxruntime.
        backend
            What runs the model in place of that of the settings; it is closed with this.

        Raises
        ------
        HtsatEdgeError
            The model cannot be loaded, or the settings do not fit it.
        """
        model = load_model(settings.bundle, settings.sounds)
        self.settings, self.info = settings, model.info
        self.detection = replace(settings.detection, early_margin=None)
        self.detection.validate(self.info)
        self.classes, self.rule = self.detection.classes(self.info), self.detection.rule(self.info)
        self._backend = backend or model.open(
            settings.precision, settings.backend, threads=threads, server=settings.server
        )
        self.scorer = Scorer(self._backend, self.info.front_end, settings.gate_dbfs)
        inner = self._backend.inner if isinstance(self._backend, SoundsBackend) else self._backend
        self.at_once = 1 if isinstance(inner, OrtBackend) else MOST_WINDOWS
        """Windows that the model takes together."""
        self._opened: tuple[Path, float, AudioFile] | None = None

    def close(self) -> None:
        """Release the model."""
        self._backend.close()

    def plan(self, path: Path) -> list[Span]:
        """Return the spans in which a recording is heard, one but for long ones.

        Raise an HtsatEdgeError, which does not name it, where nothing of it can be read.
        """
        if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  a Path raises for a long name
            raise HtsatEdgeError("is no file any more")  # a pipe would be waited for without end
        with _unnamed(path):
            file = AudioFile(path)
        self._opened = path, file.scale, file
        duration_s, span_s = file.samples / file.sample_rate, self.settings.span_s
        is_free = file.channels == 1 or self.settings.channel not in DEPENDENT
        is_cut = is_free and file.is_sought_exactly and duration_s > LONGER * span_s
        count = round(duration_s / span_s) if is_cut else 1
        return [Span(path, number, count, file.scale) for number in range(count)]

    def hear(self, span: Span, report: Callable[[float], None] = lambda _: None) -> SpanScores:
        """Return what the model makes of a span.

        Parameters
        ----------
        span
            One of `plan`.
        report
            Called with the seconds of the span that were heard since the last time.

        Raises
        ------
        HtsatEdgeError
            Nothing of the recording can be heard; the message does not name it. Or the model fails.
        """
        file = self._open(span)
        names, rate, bounds = self._channels(file.channels), file.sample_rate, self._bounds(span)
        heard = [ChannelOfSpan(self, rate, bounds) for _ in names]
        begin_s = heard[0].windows.begin_s
        first = round((bounds.first_s - begin_s) * rate)
        last = None if bounds.last_s is None else round((bounds.last_s - begin_s) * rate)
        meter, done, own = QualityMeter(rate, first, last), 0, 0
        parts = SpanParts(file.split(READ_S * rate, names, begin_s * rate, meter.push), span.path)
        for part in parts:
            for one, samples in zip(heard, part, strict=True):
                one.push(samples)
            done += len(part[0])
            before, own = own, max((done if last is None else min(done, last)) - first, 0)
            report((own - before) / rate)
            if last is not None and done >= last and all(one.packer.is_full for one in heard):
                break
        else:
            for one in heard:
                one.flush()
        failure = parts.failure if last is None or done < last else ""
        if span.number == 0 and not any(one.scored for one in heard):
            raise HtsatEdgeError(failure or f"{done / rate * 1000:.1f} ms are too short for the model")
        failure = failure or (file.missing if last is None else "")
        packed = tuple(one.packer.finish() for one in heard)
        return SpanScores(span, packed, meter.finish(), rate, file.channels, own / rate, failure)

    def finish(self, path: Path, heard: Sequence[SpanScores]) -> FoundInRecording:
        """Return what was found in a recording.

        Parameters
        ----------
        path
            The recording, or a copy: when and where it was made is read from it, and from its name. A time that names
            no zone stays without.
        heard
            Of all its spans, in their order; those behind one that could not be read to its end do not count.
        """
        heard = _until_failure(heard)
        rate, channels = heard[0].sample_rate, heard[0].channels
        quality = join([one.quality for one in heard], rate, channels)
        duration_s = quality.samples // channels / rate
        origin = read_origin(path, start=self.settings.start)
        events = list[FoundEvent]()
        for index, name in enumerate(self._channels(channels)):
            blocks = self._blocks(heard, index)
            events += self._find(blocks, duration_s, origin.start, channel_number(name))
        return FoundInRecording(duration_s, rate, channels, quality, tuple(events), origin, heard[-1].failure)

    def write_scores(self, path: Path, heard: Sequence[SpanScores]) -> None:
        """Write all final scores of a recording, which `settings.scores` keeps: see `spans.write_scores`.

        Raise an HtsatEdgeError where they cannot be written.
        """
        heard = _until_failure(heard)
        each = self.settings.channel == "each"
        names = [f"scores_{name}" if each else "scores" for name in self._channels(heard[0].channels)]
        packed = {name: [one.packed[index] for one in heard] for index, name in enumerate(names)}
        write_scores(path, packed, self.classes.labels, self.info.step_s)

    def _open(self, span: Span) -> AudioFile:
        """Return the recording of a span, as `plan` has opened it where that was just now."""
        if self._opened is None or self._opened[:2] != (span.path, span.scale):
            with _unnamed(span.path):
                self._opened = span.path, span.scale, AudioFile(span.path, span.scale)
        return self._opened[2]

    def _bounds(self, span: Span) -> SpanBounds:
        """Return where in its recording a span lies."""
        first_s = span.number * self.settings.span_s
        last_s = None if span.number == span.count - 1 else first_s + self.settings.span_s
        first, last = (None if at is None else round(at / self.info.step_s) for at in (first_s, last_s))
        assert first is not None
        return SpanBounds(first_s, last_s, first, last, max(first - max(self.classes.median_steps) // 2, 0))

    def _channels(self, channels: int) -> list[Channel]:
        """Return what is heard of a recording with so many channels."""
        channel = self.settings.channel
        return [*range(1, channels + 1)] if channel == "each" else [channel]

    def _blocks(self, heard: Sequence[SpanScores], index: int) -> Iterator[ScoreBlock]:
        """Yield the final scores of a channel that was heard."""
        return (block for one in heard for block in unpack(one.packed[index], len(self.classes.labels)))

    def _find(
        self, blocks: Iterable[ScoreBlock], duration_s: float, start: datetime | None, channel: int
    ) -> list[FoundEvent]:
        """Return the events in the final scores of a channel, in the order of their onsets."""

        def time_of(position_s: float) -> datetime | None:
            return None if start is None else start + timedelta(seconds=position_s)

        tracker = EventTracker(self.classes.labels, self.info.step_s, self.rule, itertools.count(1), time_of=time_of)
        rules, shown = Rules(self.settings.rules, self.settings.source), {*self.settings.shown}
        found = list[FoundEvent]()  # few bytes each: a day has many
        for scores, is_rest in take_turns(blocks, len(self.classes.labels)):
            events = tracker.push(scores, duration_s)
            for end in rules.select(events + (tracker.flush(duration_s) if is_rest else [])).reported:
                if isinstance(end, EventEnd) and end.label in shown:
                    found.append(FoundEvent(channel, end.label, end.onset, end.offset, end.score))
        return sorted(found, key=lambda event: (event.onset, event.label))


class SpanBounds(NamedTuple):
    """Where in its recording a span lies."""

    first_s: float
    last_s: float | None
    """Where it ends; None: with the recording."""
    first: int
    last: int | None
    """The same in steps."""
    windows: int
    """The windows are needed that hear beyond this step."""


class ChannelOfSpan:
    """One channel of a span, on its way to final scores."""

    def __init__(self, hearer: SpanHearer, sample_rate: int, bounds: SpanBounds) -> None:
        """Begin."""
        info, detection = hearer.info, hearer.detection
        self.windows = WindowStream(info, sample_rate, detection, step=bounds.windows)
        self._scores = ScoreStream(info, detection, hearer.classes, bounds.windows)
        self._scorer, self._at_once, self.scored = hearer.scorer, hearer.at_once, 0
        self.packer = ScorePacker(
            hearer.rule.release, self._scores.begin, bounds.first, bounds.last, hearer.settings.scores
        )

    def push(self, samples: FloatArray) -> None:
        """Take the next samples (S,)."""
        self._settle(self.windows.push(samples))

    def flush(self) -> None:
        """End the recording; nothing is left of one that is too short for the model."""
        left = list[Window]()
        with suppress(HtsatEdgeError):
            left = self.windows.flush()
        self._settle(left)  # where the model fails, that is no end
        for scores in self._scores.flush():
            self.packer.add(scores, is_turn=False)

    def _settle(self, windows: Sequence[Window]) -> None:
        for at in range(0, len(windows), self._at_once):
            if self.packer.is_full:
                break
            some = windows[at : at + self._at_once]
            for window, framewise in zip(some, self._scorer(some), strict=True):
                self.packer.add(self._scores.push(window, framewise))
            self.scored += len(some)
        self.packer.pack()


class SpanParts:
    """The parts of a recording, several blocks each; what cannot be read ends them."""

    def __init__(self, blocks: Iterator[list[FloatArray]], path: Path) -> None:
        """Join the blocks of the channels of a recording."""
        self._blocks, self._path = blocks, path
        self.failure = ""
        """Why no more of it could be read."""

    def __iter__(self) -> Iterator[list[FloatArray]]:
        """Yield the samples (S,) of each channel."""
        while waiting := self._take():
            yield [np.concatenate(channel) for channel in zip(*waiting, strict=True)]

    def _take(self) -> list[list[FloatArray]]:
        waiting = list[list[FloatArray]]()
        try:
            with _unnamed(self._path):
                waiting.extend(itertools.islice(self._blocks, BLOCK_S // READ_S))
        except HtsatEdgeError as error:
            self.failure = str(error)
        return waiting


def _until_failure(heard: Sequence[SpanScores]) -> list[SpanScores]:
    """Return the spans up to the one that could not be read to its end."""
    broken = (number for number, one in enumerate(heard, 1) if one.failure)
    return [*heard[: next(broken, len(heard))]]


@contextmanager
def _unnamed(path: Path) -> Iterator[None]:
    """Have errors of reading not name the recording: whoever gets them knows it."""
    try:
        yield
    except HtsatEdgeError as error:
        raise HtsatEdgeError(str(error).removeprefix(f"{visible(str(path))}: ")) from None
