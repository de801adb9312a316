"""Write a card of each class: the best event as a picture and a sound, and where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from htsat_edge.runtime.archive.summary.clips import EventClip, cut, why_not_drawn
from htsat_edge.runtime.archive.summary.counts import ArchiveCounts, BestEvent, LabelCounts
from htsat_edge.runtime.archive.summary.parts import count, link, paragraph, text
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.text import clock, visible
from htsat_edge.runtime.dsp.log_mel import FrontEnd, hz_to_band

MOST_CLASSES = 40
MOST_BYTES = 10_000_000
"""Of pictures and sounds together, as they stand in the page."""
TICKS_KHZ = (0.5, 2, 8)


class CardWriter:
    """The cards of a page, which share its room for pictures and sounds."""

    def __init__(self, base: Path, front_end: FrontEnd) -> None:
        """Write for a page in the folder `base`, of a model that hears with `front_end`."""
        self._base, self._front_end = base, front_end
        self._left = MOST_BYTES
        self._not_drawn = why_not_drawn()

    def write(self, counts: ArchiveCounts) -> Iterator[str]:
        """Yield the parts of the section, the most frequent class first."""
        classes = counts.by_frequency()
        if len(classes) > MOST_CLASSES:
            yield paragraph(
                f"Of the {MOST_CLASSES} classes with most events; {len(classes) - MOST_CLASSES} have fewer."
            )
        if self._not_drawn:
            yield paragraph(text(self._not_drawn), "warn")
        cards = "\n".join(self._card(label, one) for label, one in classes[:MOST_CLASSES])
        yield f'<div class="cards">\n{cards}\n</div>'

    def _card(self, label: str, counts: LabelCounts) -> str:
        best, name = counts.best, text(label)
        event = best.event
        try:
            clip = cut(best.path, event, self._front_end, draw=not self._not_drawn)
        except HtsatEdgeError as error:
            reason = str(error).removeprefix(f"{visible(str(best.path))}: ")  # which stands below
            middle = paragraph(f"No clip: {text(reason)}", "warn")
        else:
            if clip.size <= self._left:
                self._left -= clip.size
                middle = self._media(name, clip, best)
            else:
                middle = paragraph("No clip: the page is full.", "warn")
        return (
            f"<article><header><h3>{name}</h3><span>{count(counts.events)} event{'s' * (counts.events != 1)}</span>"
            f"</header>\n{middle}\n{paragraph(self._where(best))}</article>"
        )

    def _where(self, best: BestEvent) -> str:
        event = best.event
        parts = [f"score {event.score:.2f}", f"{event.offset - event.onset:.1f} s", f"at {clock(event.onset, 0)}"]
        parts += [f"channel {event.channel}"] if event.channel else []
        parts += [f"{best.time:%Y-%m-%d %H:%M:%S}"] if best.time else []
        parts += ["goes on in the next recording"] if event.end else []
        return f"{', '.join(parts)}<br>{link(best.path, self._base, event.onset)}"

    def _media(self, name: str, clip: EventClip, best: BestEvent) -> str:
        note = f", {clip.gain_db:.0f} dB louder than recorded" if clip.gain_db >= 1 else ""
        cut_off = ", its beginning" if best.event.offset > clip.end_s else ""
        begin, end = f"{clock(clip.begin_s, 0)}{cut_off}{note}", clock(clip.end_s, 0)
        caption = f"<figcaption><span>{begin}</span><span>{end}</span></figcaption>"
        picture = self._picture(name, clip, best) if clip.picture else ""
        return (
            f"<figure>{picture}{caption}</figure>\n"
            f'<audio controls preload="none" aria-label="{name}" src="{clip.sound}"></audio>'
        )

    def _picture(self, name: str, clip: EventClip, best: BestEvent) -> str:
        """Return the spectrogram with the event's borders and marks of frequency, which scale with it."""
        length_s = clip.end_s - clip.begin_s
        left, right = ((at - clip.begin_s) / length_s for at in (best.event.onset, best.event.offset))
        left, right = max(0.0, left), min(1.0, right)
        front_end = self._front_end
        shown = [khz for khz in TICKS_KHZ if front_end.lowest_hz < 1000 * khz < front_end.highest_hz]
        ticks = "".join(
            f'<b style="bottom:{100 * hz_to_band(front_end, 1000 * khz) / front_end.n_mels:.1f}%">{khz:g} kHz</b>'
            for khz in shown
        )
        return (
            f'<div class="picture"><img alt="Spectrogram: {name}" src="{clip.picture}">'
            f'<i style="left:{100 * left:.1f}%;right:{100 * (1 - right):.1f}%"></i>{ticks}</div>'
        )
