"""The daemon's figures for Prometheus, and its health."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from htsat_edge.runtime.daemon.hop import load_of
from htsat_edge.runtime.daemon.level import with_level_label
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.dsp.sound_level import SoundLevel
from htsat_edge.runtime.models.backends.changing import backend_name, fallbacks_of
from htsat_edge.runtime.models.model import find_remote

if TYPE_CHECKING:
    from prometheus_client.core import Metric

SOURCE_COUNTERS: tuple[tuple[str, str, Callable[[SourceSession], float]], ...] = (
    ("heard_seconds", "Audio that was heard", lambda session: session.all_time.heard_s),
    ("lost_seconds", "Audio that was lost", lambda session: session.all_time.lost_s),
    ("gaps", "Times at which audio was lost", lambda session: session.all_time.gaps),
)
SOURCE_GAUGES: tuple[tuple[str, str, Callable[[SourceSession], float]], ...] = (
    ("level_dbfs", "Level of the last second", lambda session: session.level_dbfs),
    ("input_fault", "1 where something is wrong with the sound", lambda session: float(bool(session.faults))),
    ("paused", "1 where somebody has asked not to listen to it", lambda session: float(session.paused)),
    ("hop_seconds", "From one run of the model to the next", lambda session: session.hop_s),
    (
        "expected_latency_seconds",
        "From the onset of a sound to its start, without the model's own time",
        lambda session: session.latency_s,
    ),
    ("behind_seconds", "Audio that waits for detection", lambda session: session.feed.behind_s),
    (
        "clock_drift_ppm",
        "How much slower than its nominal rate the source is",
        lambda session: session.feed.clock.drift_ppm,
    ),
)
LEVELS: tuple[tuple[str, str, bool, Callable[[SoundLevel], float]], ...] = (
    ("sound_level_dbfs", "Level of the last so many seconds", False, lambda level: level.dbfs),
    ("laeq_db", "A-weighted level of the last so many seconds, dB SPL", True, lambda level: level.laeq),
    ("lamax_db", "Highest A-weighted Fast level in the last so many seconds, dB SPL", True, lambda level: level.lamax),
)
"""Name, description, whether it needs a calibration, and value."""
OUTPUT_COUNTERS = (
    ("sent", "Messages that were sent"),
    ("dropped", "Messages that were lost, as too many waited or they were refused"),
    ("failures", "Tries that failed"),
)


class Collector:
    """Collects figures at the moment at which somebody asks."""

    def __init__(self, status: StatusReader) -> None:
        """Collect figures of the daemon's parts."""
        self._status = status
        self._sessions, self._scorer, self._publisher = status.sessions, status.scorer, status.publisher

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether every source is heard without fault and every output works, and the details as JSON."""
        sources = {
            source.name: source.model_dump(include={"heard", "paused", "problems", "coverage", "suppressed"})
            for source in self._status.sources()
        }
        names = {sender.name for sender in self._publisher.senders}
        outputs = {
            output.name: output.model_dump(include={"works", "waiting", "dropped"})
            for output in self._status.outputs()
            if output.name in names
        }
        healthy = self._status.healthy
        return healthy, {"healthy": healthy, "sources": sources, "outputs": outputs}

    def collect(self) -> Iterator[Metric]:
        """Yield the figures, as prometheus_client wants them of a collector."""
        yield from self._model()
        yield from self._backend()
        yield from self._sources()
        yield from self._outputs()
        yield self._device()

    def _model(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

        scorer = self._scorer
        inference = SummaryMetricFamily("htsat_edge_inference_seconds", "Runs of the model, of one window or several")
        inference.add_metric([], count_value=scorer.runs, sum_value=scorer.seconds)
        yield inference
        yield GaugeMetricFamily("htsat_edge_inference_slowest_seconds", "The slowest run", value=scorer.slowest)
        load = load_of(scorer, self._sessions)
        yield GaugeMetricFamily("htsat_edge_load", "Share of the time that the model needs at this hop", value=load)
        yield CounterMetricFamily("htsat_edge_windows", "Windows that were scored", value=scorer.windows)
        yield CounterMetricFamily("htsat_edge_windows_gated", "Windows that were too quiet", value=scorer.gated)

    def _backend(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        backend = self._scorer.backend
        present = GaugeMetricFamily("htsat_edge_backend_info", "What runs the model at present", labels=["backend"])
        present.add_metric([backend_name(backend)], 1)
        yield present
        text = "Times that this device took over from a server, or onnxruntime from an engine"
        yield CounterMetricFamily("htsat_edge_backend_fallbacks", text, value=fallbacks_of(backend))
        if (remote := find_remote(backend)) is not None:
            text = "1 where the server runs the model, 0 where this device does"
            yield GaugeMetricFamily("htsat_edge_remote_ready", text, value=float(remote.ready))

    def _sources(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for figures, family in ((SOURCE_COUNTERS, CounterMetricFamily), (SOURCE_GAUGES, GaugeMetricFamily)):
            for name, text, value in figures:
                metric = family(f"htsat_edge_{name}", text, labels=["source"])
                for session in self._sessions:
                    metric.add_metric([session.feed.name], value(session))
                yield metric
        yield self._events()
        suppressed = CounterMetricFamily(
            "htsat_edge_events_suppressed", "Events that a rule left out", labels=["source", "rule", "label"]
        )
        for session in self._sessions:
            for (rule, label), count in session.rules.suppressed.copy().items():  # which the daemon goes on counting
                suppressed.add_metric([session.feed.name, rule, label], count)
        yield suppressed
        yield from self._levels()

    def _events(self) -> Metric:
        """Return how often each class was reported; all begin with 0, as a rate knows no first event otherwise."""
        from prometheus_client.core import CounterMetricFamily

        events = CounterMetricFamily("htsat_edge_events", "Events that were reported", labels=["source", "label"])
        for session in self._sessions:
            labels = with_level_label(session.settings.reported(session.info), session.level.settings)
            for label, count in {**dict.fromkeys(labels, 0), **session.progress.events.copy()}.items():
                events.add_metric([session.feed.name, label], count)
        return events

    def _levels(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        for name, text, calibrated, value in LEVELS:
            metric = GaugeMetricFamily(f"htsat_edge_{name}", text, labels=["source", "seconds"])
            for session in self._sessions:
                offset_db = session.level.settings.offset_db
                if not session.lost and (not calibrated or offset_db is not None):
                    for seconds, level in session.level.spans().items():
                        shift_db = (offset_db or 0.0) if calibrated else 0.0
                        metric.add_metric([session.feed.name, str(seconds)], value(level) + shift_db)
            yield metric

    def _outputs(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for name, text in OUTPUT_COUNTERS:
            counter = CounterMetricFamily(f"htsat_edge_output_{name}", text, labels=["output"])
            for sender in self._publisher.senders:
                counter.add_metric([sender.name], getattr(sender, name))
            yield counter
        waiting = GaugeMetricFamily("htsat_edge_output_waiting", "Messages that are queued", labels=["output"])
        for sender in self._publisher.senders:
            waiting.add_metric([sender.name], sender.waiting)
        yield waiting

    def _device(self) -> Metric:
        from prometheus_client.core import GaugeMetricFamily

        temperature = GaugeMetricFamily("htsat_edge_temperature_celsius", "Of the device's zones", labels=["zone"])
        for zone, celsius in self._status.temperatures().items():
            temperature.add_metric([zone], celsius)
        return temperature
