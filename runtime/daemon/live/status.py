"""How the daemon and the device get on, at the moment at which somebody asks: for the page, Prometheus and /healthz."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import htsat_edge
from htsat_edge.runtime.daemon.hop import load_of
from htsat_edge.runtime.daemon.live.frames import DeviceStatus, LiveOutput, LiveSource
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.models.backends.changing import backend_name, present_backend

TEMPERATURES = Path("/sys/class/thermal")


class StatusReader:
    """Reads what the daemon's parts know of themselves; from any thread."""

    def __init__(
        self,
        sessions: Sequence[SourceSession],
        scorer: Scorer,
        publisher: Publisher,
        temperatures: Path = TEMPERATURES,
    ) -> None:
        """Read from these parts, and the temperatures of the device's thermal zones."""
        self.sessions, self.scorer, self.publisher = sessions, scorer, publisher
        self._zones = temperatures
        self._begun_s = time.monotonic()

    def sources(self) -> list[LiveSource]:
        """Return how each source gets on."""
        return [source_status(session) for session in self.sessions]

    def outputs(self) -> list[LiveOutput]:
        """Return how each output gets on."""
        publisher = self.publisher
        senders = [
            LiveOutput(
                name=sender.name,
                works=not publisher.failing(sender),
                waiting=sender.waiting,
                sent=sender.sent,
                dropped=sender.dropped,
                failures=sender.failures,
            )
            for sender in publisher.senders
        ]
        others = [reporter for reporter in publisher.reporters if reporter not in publisher.senders]
        return senders + [
            LiveOutput(name=other.name, works=not publisher.failing(other), waiting=0, sent=0, dropped=0, failures=0)
            for other in others
        ]

    @property
    def healthy(self) -> bool:
        """Whether every source is heard without fault, or paused, and every output works; the page is for people."""
        faulty = any((session.lost or session.faults) and not session.paused for session in self.sessions)
        return not faulty and not any(self.publisher.failing(each) for each in self.publisher.reporters if each.vital)

    def temperatures(self) -> dict[str, float]:
        """Return the temperatures in °C, by zone; those that can be read."""
        return dict(self._read_zones())

    def read(self) -> DeviceStatus:
        """Return all of it."""
        scorer, backend = self.scorer, present_backend(self.scorer.backend)
        engine = getattr(backend, "manifest", None)
        return DeviceStatus(
            time=self.publisher.now(),
            version=htsat_edge.__version__,
            uptime_s=round(time.monotonic() - self._begun_s, 1),
            healthy=self.healthy,
            model=self.sessions[0].info.name,
            backend=backend_name(backend),
            engine=None if engine is None else engine.model_dump(mode="json"),
            load=round(load_of(scorer, self.sessions), 4),
            inference_ms=round(1000 * scorer.window_s, 2),
            slowest_ms=round(1000 * scorer.slowest, 2),
            temperatures=self.temperatures(),
            sources=self.sources(),
            outputs=self.outputs(),
        )

    def _read_zones(self) -> Iterator[tuple[str, float]]:
        for zone in sorted(self._zones.glob("thermal_zone*")):
            try:
                celsius = int((zone / "temp").read_text()) / 1000
                yield (zone / "type").read_text().strip(), celsius
            except (OSError, ValueError):
                continue


def source_status(session: SourceSession) -> LiveSource:
    """Return how a source gets on."""
    coverage, level = session.all_time, session.level_dbfs
    return LiveSource(
        name=session.feed.name,
        heard=not session.lost,
        paused=session.paused,
        problems=sorted(session.faults.copy()),
        failure=session.failure,
        coverage=coverage.share,
        gaps=coverage.gaps,
        lost_s=round(coverage.lost_s, 3),
        position_s=round(session.end_s, 3),
        level_dbfs=round(level, 1) if math.isfinite(level) else None,
        hop_s=session.hop_s,
        latency_s=session.latency_s,
        behind_s=round(session.feed.behind_s, 3),
        suppressed=sum(session.rules.suppressed.copy().values()),  # the daemon goes on counting
    )
