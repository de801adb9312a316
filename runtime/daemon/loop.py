"""`htsat-edge listen`: sources in, lines out, for months."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from htsat_edge.runtime.commands.detect import near
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DaemonConfig
from htsat_edge.runtime.daemon.config import Source as SourceConfig
from htsat_edge.runtime.daemon.notify import Notifier
from htsat_edge.runtime.daemon.outputs import Output
from htsat_edge.runtime.daemon.outputs.clips import ClipRecorder, ClipWriter
from htsat_edge.runtime.daemon.outputs.lines import JsonLinesFile, Stdout
from htsat_edge.runtime.daemon.session import Heard, Listener, Told, told_time
from htsat_edge.runtime.daemon.sources import Feed, Lost, Source
from htsat_edge.runtime.detector import Detector, Settings, make_grid, make_look_ahead
from htsat_edge.runtime.dsp.log_mel import FrontEnd, hann, mel_edges_hz
from htsat_edge.runtime.dsp.windows import Clip
from htsat_edge.runtime.models.backends import Backend, open_backend
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo, read_bundle

WAIT_S = 0.25
"""For news, so that the watchdog is told often enough."""
MOST_CLIPS = 8
"""Scored at once, one of each source."""
MOST_PIECES = 20
"""Of one source before the others have their turn."""
TEMPERATURES = Path("/sys/class/thermal")
logger = logging.getLogger(__name__)


class Control:
    """What signals ask for. Their handlers set these and do nothing else: any lock may be held when one comes."""

    ending = False
    reload = False


class Daemon:
    """Everything between one configuration and the next."""

    def __init__(
        self,
        config: DaemonConfig,
        notifier: Notifier,
        control: Control | None = None,
        read: Callable[[], DaemonConfig] | None = None,
    ) -> None:
        """Open the model and prepare everything; an HtsatEdgeError says what cannot be.

        Where `control` asks for it, `read` reads the configuration again.
        """
        self._config, self._notifier = config, notifier
        self._control, self._reread = control or Control(), read
        self.wanted: DaemonConfig | None = None
        """A new configuration, for which `run` has returned."""
        self._news = threading.Event()
        self._stop = threading.Event()
        self.system = SystemClock(time.time(), time.monotonic())
        bundle = read_bundle(config.model.bundle or BUNDLED)
        self.info = tuned(bundle.info, config)
        self._settings = make_settings(config)
        make_grid(self.info, self._settings)
        make_look_ahead(self.info, self._settings)
        labels = frozenset(config.detection.labels or self.info.labels)
        check_labels("detection.labels", labels, self.info)
        self._opened = ExitStack()
        try:
            backend = open_model(bundle, config, config.model.build)
            self._opened.callback(backend.close)
            self.scorer = Scorer(backend, self.info.front_end, config.detection.gate_dbfs)
            self.sources = [make_source(source, self.info, self._news) for source in config.sources]
            feeds = [feed for source in self.sources for feed in source.feeds]
            self.outputs = make_outputs(config, [feed.name for feed in feeds], sorted(labels))
            self._writers = [output for output in self.outputs if isinstance(output, ClipWriter)]
            self.listeners = [
                Listener(
                    feed, self.info, backend, self._settings, labels, config.health, self.system, self._watcher(feed)
                )
                for feed in feeds
            ]
            for output in self.outputs:
                output.start()
                self._opened.callback(output.close)
            self._open_metrics()
            self._opened.callback(self._end_outputs)  # all at once, and first
        except BaseException:
            self._opened.close()
            raise

    def run(self) -> None:
        """Listen until `stop`, a signal, or the end of every source."""
        with self._opened, ExitStack() as listening:
            for source in self.sources:
                source.start()
                listening.callback(source.stop)
            self._notifier.tell(READY="1", STATUS=f"listening to {', '.join(x.feed.name for x in self.listeners)}")
            while not self._over():
                self._news.wait(WAIT_S)
                self._news.clear()
                self._round()
            listening.close()
            self._notifier.tell(STOPPING="1")
            while self._round():  # what was recorded before the sources were stopped
                pass
            for listener in self.listeners:
                self._finish(listener)

    def stop(self) -> None:
        """End open events, send what is queued, and return from `run`; for other threads."""
        self._stop.set()
        self._news.set()

    def _over(self) -> bool:
        if self._control.reload and self._reread is not None:
            self._control.reload = False
            try:
                self.wanted = self._reread()
            except HtsatEdgeError as error:
                self.say("configuration refused", f"{error}; the old one stays")
        asked = self._stop.is_set() or self._control.ending or self.wanted is not None
        return asked or all(listener.feed.ended for listener in self.listeners)

    def _end_outputs(self) -> None:
        for output in self.outputs:
            output.end()

    def say(self, state: str, text: str) -> None:
        """A status line of the daemon itself, and a line in the log."""
        logger.warning("%s%s", state, f": {text}" if text else "")
        self._offer({"type": "status", "source": None, "state": state, **({"text": text} if text else {})})

    def _round(self) -> bool:
        """One turn for every source; whether there was anything."""
        self._notifier.alive()
        if moved := self.system.update(time.time(), time.monotonic()):
            self.say("clock set", f"by {moved:+.3f} s")
        waiting: list[tuple[Listener, list[Clip]]] = []
        busy = False
        for listener in self.listeners:
            clips, lost, read = self._read(listener)
            waiting.append((listener, clips))
            busy = busy or read
            if lost is not None:
                self._score(waiting)
                waiting = []
                self._finish(listener)
                self._tell(listener, listener.lose(lost))
            elif listener.feed.ended:
                self._score(waiting)
                waiting = []
                self._finish(listener)
        self._score(waiting)
        return busy

    def _read(self, listener: Listener) -> tuple[list[Clip], Lost | None, bool]:
        """What a source has, up to the next gap, which is the second."""
        clips: list[Clip] = []
        for notice in listener.feed.notices():
            self._tell(listener, [listener.notice(notice)])
        for count in range(MOST_PIECES):
            item = listener.feed.read()
            if item is None:
                return clips, None, count > 0
            self._news.set()  # there may be more
            if isinstance(item, Lost):
                return clips, item, True
            found, told = listener.take(item)
            self._tell(listener, told)
            clips += found
        return clips, None, True

    def _score(self, waiting: Sequence[tuple[Listener, list[Clip]]]) -> None:
        """Score clips, those of several sources at once, those of one in turn."""
        queues = [(listener, list(clips)) for listener, clips in waiting if clips]
        while queues:
            group = [(listener, clips.pop(0)) for listener, clips in queues[:MOST_CLIPS]]
            for (listener, clip), framewise in zip(group, self.scorer([clip for _, clip in group]), strict=True):
                self._tell(listener, listener.settle(clip, framewise))
            queues = [(listener, clips) for listener, clips in queues if clips]
            self._notifier.alive()

    def _finish(self, listener: Listener) -> None:
        """What is heard next, if anything, is not joined to what came before."""
        if listener.hearing:
            self._tell(listener, listener.finish())
            listener.watcher.interrupted(listener.end_s)

    def _tell(self, listener: Listener, lines: Iterable[Told]) -> None:
        for told in lines:
            self._offer(told.line)
            if isinstance(listener.watcher, ClipRecorder):
                listener.watcher.tell(told)

    def _offer(self, line: dict[str, Any]) -> None:
        if line["type"] == "status" and "time" not in line:
            line["time"] = told_time(self.system.wall(time.monotonic()))
        for output in self.outputs:
            if not isinstance(output, ClipWriter):
                output.offer(line)

    def _watcher(self, feed: Feed) -> Heard:
        if self._config.outputs.clips is None:
            return Heard()
        late_s = Detector(self.info, self.scorer.backend, 48_000, self._settings).latency_s
        late_s += self.info.steps * self.info.step_s
        return ClipRecorder(self._config.outputs.clips, self._writers[0], feed.name, self.info.labels, late_s)

    def _open_metrics(self) -> None:
        if self._config.outputs.metrics is not None:
            from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer

            server = MetricsServer(self._config.outputs.metrics, self.collect, self.healthy)
            server.start()
            self._opened.callback(server.close)

    def healthy(self) -> tuple[bool, dict[str, Any]]:
        """Whether every source is heard, and every output keeps up."""
        sources = {
            x.feed.name: {"heard": not x.feed.lost, "problems": sorted(x.problems), "coverage": x.all_time.share}
            for x in self.listeners
        }
        outputs = {output.name: {"waiting": output.waiting, "dropped": output.dropped} for output in self.outputs}
        well = not any(x.feed.lost or x.problems for x in self.listeners)
        return well, {"healthy": well, "sources": sources, "outputs": outputs}

    def collect(self) -> Iterator[Any]:
        """Figures for Prometheus."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

        scorer = self.scorer
        inference = SummaryMetricFamily("htsat_edge_inference_seconds", "Runs of the model, of one clip or several")
        inference.add_metric([], count_value=scorer.runs, sum_value=scorer.seconds)
        yield inference
        yield GaugeMetricFamily("htsat_edge_inference_slowest_seconds", "The slowest run", value=scorer.slowest)
        yield CounterMetricFamily("htsat_edge_clips", "Clips that were scored", value=scorer.clips)
        yield CounterMetricFamily("htsat_edge_clips_gated", "Clips that were too quiet to be", value=scorer.gated)
        counted: tuple[tuple[str, str, Callable[[Listener], float]], ...] = (
            ("heard_seconds", "Audio that was heard", lambda x: x.all_time.heard_s),
            ("lost_seconds", "Audio that was lost", lambda x: x.all_time.lost_s),
            ("gaps", "Times at which audio was lost", lambda x: x.all_time.gaps),
        )
        for name, text, value in counted:
            counter = CounterMetricFamily(f"htsat_edge_{name}", text, labels=["source"])
            for listener in self.listeners:
                counter.add_metric([listener.feed.name], value(listener))
            yield counter
        measured: tuple[tuple[str, str, Callable[[Listener], float]], ...] = (
            ("level_dbfs", "The level of the last second", lambda x: x.level_dbfs),
            ("deaf", "1 where something is wrong with the sound", lambda x: float(bool(x.problems))),
            ("behind_seconds", "Audio that waits to be detected in", lambda x: x.feed.behind_s),
            ("clock_drift_ppm", "How much slower than it says the source is", lambda x: x.feed.clock.drift_ppm),
        )
        for name, text, value in measured:
            gauge = GaugeMetricFamily(f"htsat_edge_{name}", text, labels=["source"])
            for listener in self.listeners:
                gauge.add_metric([listener.feed.name], value(listener))
            yield gauge
        for name, text, attribute in (
            ("sent", "Lines", "sent"),
            ("dropped", "Lines that were lost, as too many waited", "dropped"),
            ("failures", "Tries that failed", "failures"),
        ):
            counter = CounterMetricFamily(f"htsat_edge_output_{name}", text, labels=["output"])
            for output in self.outputs:
                counter.add_metric([output.name], getattr(output, attribute))
            yield counter
        waiting = GaugeMetricFamily("htsat_edge_output_waiting", "Lines", labels=["output"])
        for output in self.outputs:
            waiting.add_metric([output.name], output.waiting)
        yield waiting
        temperature = GaugeMetricFamily("htsat_edge_temperature_celsius", "Of the device", labels=["zone"])
        for zone, celsius in temperatures():
            temperature.add_metric([zone], celsius)
        yield temperature


class Scorer:
    """Runs the model, and counts what that costs."""

    def __init__(self, backend: Backend, front_end: FrontEnd, gate_dbfs: float | None) -> None:
        self.backend, self._front_end, self._gate_dbfs = backend, front_end, gate_dbfs
        self.runs = self.clips = self.gated = 0
        self.seconds = self.slowest = 0.0
        self._silence: FloatArray | None = None

    def __call__(self, clips: Sequence[Clip]) -> list[FloatArray]:
        """The scores (steps, C) of each clip; of those below the gate, what the model says of silence."""
        loud = [
            self._gate_dbfs is None or level_dbfs(clip.log_mel, self._front_end) >= self._gate_dbfs for clip in clips
        ]
        scores = iter(self._run([clip.log_mel for clip, is_loud in zip(clips, loud, strict=True) if is_loud]))
        self.gated += loud.count(False)
        return [next(scores) if is_loud else self._silent(clips[0]) for is_loud in loud]

    def _run(self, log_mels: Sequence[FloatArray]) -> list[FloatArray]:
        if not log_mels:
            return []
        begun = time.perf_counter()
        batch = log_mels[0][None] if len(log_mels) == 1 else np.stack(log_mels)  # one alone needs no copy
        framewise = self.backend.infer(batch).framewise
        took = time.perf_counter() - begun
        self.runs, self.clips, self.seconds = self.runs + 1, self.clips + len(log_mels), self.seconds + took
        self.slowest = max(self.slowest, took)
        return list(framewise)

    def _silent(self, like: Clip) -> FloatArray:
        if self._silence is None:
            (self._silence,) = self._run([np.full_like(like.log_mel, -100.0)])
        return self._silence


def level_dbfs(log_mel: FloatArray, front_end: FrontEnd) -> float:
    """The loudest tenth of a second of a clip (T, F): its root mean square, of what lies between fmin and fmax.

    Triangles of height one add up to one, so the power of a spectrum is that of its bands times half their bases.
    """
    edges = mel_edges_hz(front_end)
    half_bases = (edges[2:] - edges[:-2]) / 2
    spectra = (10 ** (log_mel.astype(np.float64) / 10)) @ half_bases
    power = spectra * 2 / (front_end.n_fft * float(np.sum(hann(front_end.n_fft) ** 2)))
    count = max(1, round(0.1 / front_end.frame_s))
    tenths = power[: len(power) // count * count].reshape(-1, count).mean(axis=1)
    return 10 * float(np.log10(tenths.max()))


def tuned(info: ModelInfo, config: DaemonConfig) -> ModelInfo:
    """The model with the configuration's thresholds."""
    check_labels("detection.thresholds", config.detection.thresholds, info)
    return info.model_copy(update={"thresholds": {**info.thresholds, **config.detection.thresholds}})


def open_model(bundle: Bundle, config: DaemonConfig, build: bool) -> Backend:
    """What runs the model, as the configuration wants it."""
    model = config.model
    threads = model.threads or max(1, cores() - 1)
    return open_backend(bundle, model.precision, model.backend, build, threads)


def check_labels(key: str, labels: Iterable[str], info: ModelInfo) -> None:
    """An HtsatEdgeError names the label that the model does not know, and the nearest that it does."""
    for label in labels:
        if label not in info.labels:
            raise HtsatEdgeError(f"{key}: {label!r} is no class of this model, {near(label, info.labels)}")


def make_settings(config: DaemonConfig) -> Settings:
    """The detector's own."""
    detection = config.detection
    return Settings(
        hop_s=detection.hop_s,
        look_ahead_s=detection.look_ahead_s,
        threshold=detection.threshold,
        release=detection.release,
        min_length_s=detection.min_length_s,
        merge_gap_s=detection.merge_gap_s,
    )


def make_source(config: SourceConfig, info: ModelInfo, news: threading.Event) -> Source:
    """What fills a source's feeds."""
    from htsat_edge.runtime.daemon.sources import streams

    if config.file is not None:
        return streams.FileSource(config.file, Feed(config.name, news, live=False))
    if config.stdin is not None:
        return streams.PcmSource(config.stdin, Feed(config.name, news, live=True))
    if config.stream is not None:
        return streams.FfmpegSource(config.stream, Feed(config.name, news, live=True), info.front_end.sample_rate)
    assert config.microphone is not None
    from htsat_edge.runtime.daemon.sources.microphone import MicrophoneSource, count_channels

    names = [config.name]
    if config.microphone.channel == "each":
        names = [f"{config.name}/{i + 1}" for i in range(count_channels(config.microphone))]
    return MicrophoneSource(config.microphone, [Feed(name, news, live=True) for name in names])


def make_outputs(config: DaemonConfig, sources: Sequence[str], labels: Sequence[str]) -> list[Output]:
    """Those that the configuration names."""
    wanted, outputs = config.outputs, list[Output]()
    if wanted.stdout:
        outputs.append(Stdout())
    if wanted.json_lines is not None:
        outputs.append(JsonLinesFile(wanted.json_lines))
    if wanted.store is not None:
        from htsat_edge.runtime.daemon.outputs.store import Store

        outputs.append(Store(wanted.store))
    if wanted.mqtt is not None:
        from htsat_edge.runtime.daemon.outputs.mqtt import Mqtt

        outputs.append(Mqtt(wanted.mqtt, sources, labels))
    if wanted.webhook is not None:
        from htsat_edge.runtime.daemon.outputs.webhook import Webhook

        outputs.append(Webhook(wanted.webhook))
    if wanted.clips is not None:
        outputs.append(ClipWriter(wanted.clips))
    return outputs


def temperatures() -> Iterator[tuple[str, float]]:
    """Of the device's zones, in degrees Celsius."""
    for zone in sorted(TEMPERATURES.glob("thermal_zone*")):
        try:
            yield (zone / "type").read_text().strip(), int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):
            continue


def listen(read: Callable[[], DaemonConfig]) -> None:
    """Run the daemon: SIGTERM and Ctrl-C end it, SIGHUP has the configuration read again; a bad one is refused."""
    control, notifier, config = Control(), Notifier(), read()

    def end(*_: Any) -> None:
        control.ending = True

    def reload(*_: Any) -> None:
        control.reload = True

    handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        daemon = Daemon(config, notifier, control, read)
        daemon.run()
        while daemon.wanted is not None and not control.ending:
            notifier.tell(RELOADING="1")
            wanted = daemon.wanted
            try:
                daemon = Daemon(wanted, notifier, control, read)
                config = wanted
                daemon.say("configuration read again", "")
            except HtsatEdgeError as error:
                daemon = Daemon(config, notifier, control, read)
                daemon.say("configuration refused", f"{error}; the old one stays")
            daemon.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
