"""Labels of one recording, in a file beside it, for programs in which people look at sounds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

from htsat_edge.runtime.archive.formats.rows import FileEvents
from htsat_edge.runtime.archive.formats.tables import absolute, encoded, rounded, write_tabbed
from htsat_edge.runtime.common.libraries import needing_archive
from htsat_edge.runtime.common.message import DECIMALS
from htsat_edge.runtime.common.text import visible

RAVEN = (
    *("Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)"),
    *("Begin File", "Begin Path", "File Offset (s)", "Annotation", "Confidence"),
)
NOTHING = "no events"
"""Name of the tier of a recording without events."""


def write_raven(stream: IO[bytes], recordings: Iterable[FileEvents], continuous: bool = False) -> None:  # noqa: ARG001
    """Write a selection an event, over all frequencies; those of all channels in the first."""
    write_tabbed(stream, RAVEN, _selections(recordings))


def write_audacity(stream: IO[bytes], recordings: Iterable[FileEvents], continuous: bool = False) -> None:  # noqa: ARG001
    """Write a label an event."""
    with encoded(stream) as text:
        for one in recordings:
            for event in map(rounded, one.events):
                text.write(f"{event.onset:.6f}\t{event.offset:.6f}\t{visible(event.label)}\n")


def require_praatio() -> None:
    """Raise an HtsatEdgeError where praatio is missing."""
    with needing_archive("TextGrid", "praatio"):
        import praatio.textgrid  # noqa: F401


def write_textgrid(stream: IO[bytes], recordings: Iterable[FileEvents], continuous: bool = False) -> None:  # noqa: ARG001
    """Write a tier for each class, and each channel where several have their own events.

    Praat wants a tier at least: where there are no events, it is an empty one.
    """
    require_praatio()
    from praatio.textgrid import Textgrid

    for one in recordings:
        tiers: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
        for event in map(rounded, one.events):
            label = visible(event.label)
            name = f"{label} (channel {event.channel})" if event.channel else label
            tiers[name].append((event.onset, event.offset, label))
        ends = [offset for entries in tiers.values() for _, offset, _ in entries]
        end = max([round(one.file.duration, DECIMALS), *ends])
        grid = Textgrid(0, end)
        for name in sorted(tiers) or [NOTHING]:
            grid.addTier(_make_tier(name, tiers[name], end))
        with TemporaryDirectory() as folder:  # praatio writes only into files that have a name
            path = Path(folder, "events.TextGrid")
            grid.save(str(path), "long_textgrid", includeBlankSpaces=True)
            stream.write(path.read_bytes())


def _make_tier(name: str, entries: Sequence[tuple[float, float, str]], end: float) -> Any:
    from praatio.data_classes.interval_tier import IntervalTier
    from praatio.utilities.constants import Interval

    return IntervalTier(name, [Interval(*entry) for entry in entries], 0, end)


def _selections(recordings: Iterable[FileEvents]) -> Iterator[Sequence[object]]:
    """Yield a row an event; where there are several recordings, the view is one behind the other, as Raven has it."""
    numbers, begun_s = count(1), 0.0
    for one in recordings:
        path = absolute(one.file.file)
        common = 0.0, one.file.sample_rate / 2, PurePosixPath(path).name, path  # crowsetta wants floats
        for event, number in zip(map(rounded, one.events), numbers, strict=False):
            span = (round(begun_s + at, DECIMALS) for at in (event.onset, event.offset))
            yield number, "Spectrogram 1", max(1, event.channel), *span, *common, event.onset, event.label, event.score
        begun_s += one.file.duration
