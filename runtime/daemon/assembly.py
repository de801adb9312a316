"""Build the daemon's parts as a configuration wants them."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.machine import cores
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DaemonConfig, MqttConfig, OutputsConfig, SourceConfig
from htsat_edge.runtime.daemon.control import SetListening
from htsat_edge.runtime.daemon.hop import control_hop
from htsat_edge.runtime.daemon.level import with_level_label
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.outputs.clip_names import ClipNamer
from htsat_edge.runtime.daemon.outputs.clips import ClipListener, ClipRecorder, ClipWriter
from htsat_edge.runtime.daemon.outputs.lines import JsonLinesFile, Stdout
from htsat_edge.runtime.daemon.outputs.sender import Output
from htsat_edge.runtime.daemon.outputs.store import StoreOutput
from htsat_edge.runtime.daemon.parts import Carried, Parts
from htsat_edge.runtime.daemon.progress import SourceProgress
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.rules import Rules
from htsat_edge.runtime.daemon.score_recorder import ScoreRecorder
from htsat_edge.runtime.daemon.scorer import Scorer
from htsat_edge.runtime.daemon.servers import open_servers
from htsat_edge.runtime.daemon.session import SourceSession
from htsat_edge.runtime.daemon.settings import notes_of, settings_of
from htsat_edge.runtime.daemon.sources.feed import Feed, Source
from htsat_edge.runtime.daemon.watch import sign_sounds
from htsat_edge.runtime.models.backends.backend import Backend
from htsat_edge.runtime.models.backends.changing import backend_name, present_backend
from htsat_edge.runtime.models.bundle import BUNDLED, Bundle, ModelInfo, load_bundle
from htsat_edge.runtime.models.model import Model, find_remote, load_model, sounds_folder
from htsat_edge.runtime.models.settings import Settings
from htsat_edge.runtime.store.writes import RemovedClip, SavedClip

logger = logging.getLogger(__name__)


def assemble(
    config: DaemonConfig,
    sources: Sequence[Source] | None = None,
    news: threading.Event | None = None,
    carried: Carried | None = None,
    config_file: Path | None = None,
) -> Parts:
    """Open the model and the outputs, and prepare the sources.

    Parameters
    ----------
    config
        The configuration.
    sources, news
        Take the place of the configuration's sources; `news` is the event that their feeds set.
    carried
        What a daemon before has left.
    config_file
        The file of the configuration, where there is one that can be changed.

    Raises
    ------
    HtsatEdgeError
        Something that the configuration asks for cannot be had; whatever was opened is closed.
    """
    carried = carried or Carried()
    news = news or carried.news
    bundle = load_bundle(config.model.bundle or BUNDLED)
    sounds_seen = sign_sounds(sounds_folder(bundle, config.model.sounds))
    model = load_model(bundle, config.model.sounds)
    with ExitStack() as opened:
        backend = open_model(model, config, config.model.build)
        opened.callback(backend.close)
        notes = notes_of(bundle.info, model.info, config)
        logger.info("bundle %s", describe_model(model, backend))
        for note in notes:
            logger.warning(note)
        named = {} if sources is not None else make_sources(config, model.info, news, carried)
        parts = open_parts(config, model, backend, sources or [*named.values()], news, carried, config_file, opened)
        parts.named, parts.sounds, parts.sounds_seen = named, model.sounds, sounds_seen
        parts.opened = opened.pop_all()
        return parts


def open_parts(
    config: DaemonConfig,
    model: Model,
    backend: Backend,
    sources: Sequence[Source],
    news: threading.Event,
    carried: Carried,
    config_file: Path | None,
    opened: ExitStack,
) -> Parts:
    """Open the outputs, and make what is between the sources and these; `opened` closes it."""
    info, system = model.info, SystemClock(time.time(), time.monotonic())
    scorer = Scorer(backend, info.front_end, config.detection.gate_dbfs)
    feeds = [feed for source in sources for feed in source.feeds]
    check_names([feed.name for feed in feeds])
    settings = {feed.name: settings_of(feed.name, info, config) for feed in feeds}
    labels = {name: with_level_label(own.reported(info), config.level) for name, own in settings.items()}
    uid = uuid.uuid4().hex
    outputs = make_outputs(config.outputs, labels, config.calibrated([*labels]), uid)
    if config.outputs.notify is not None:
        from htsat_edge.runtime.daemon.outputs.notify.output import make_notifier

        outputs += make_notifier(config, info, settings)
    store = next((output for output in outputs if isinstance(output, StoreOutput)), None)
    listeners = [output for output in outputs if isinstance(output, ClipListener)]
    writer = make_writer(config.outputs, store, listeners)
    publisher = Publisher(outputs, system, writer)
    sessions = [make_session(feed, info, settings[feed.name], config, system, writer, carried) for feed in feeds]
    if (remote := find_remote(backend)) is not None:
        remote.hop_s = lambda: min(session.hop_s for session in sessions)
    hop = control_hop(sessions, scorer, backend) if config.detection.hop_s == "auto" else None
    record_scores(store, sessions, config.outputs)
    status = StatusReader(sessions, scorer, publisher)
    if config.outputs.mqtt is not None:
        complete_mqtt(config.outputs.mqtt, outputs, model.bundle, uid, status, system, carried, news)
    end_pauses(config.outputs, sessions, carried)
    start_senders(outputs, listeners, writer, opened)
    page = open_servers(config, status, opened, carried, config_file)
    for sender in publisher.senders:
        if writer is None or sender not in listeners:  # these get the last clips, and end after them
            opened.callback(sender.end)  # all at once, and first
    return Parts(sources, sessions, scorer, publisher, system, news, hop=hop, config=config, carried=carried, page=page)


def start_senders(
    outputs: Sequence[Output[Any]], listeners: Sequence[Output[Any]], writer: ClipWriter | None, opened: ExitStack
) -> None:
    """Start the outputs and what writes clips; `opened` closes that first, then ends its listeners all at once."""
    for output in outputs:
        output.start()
        opened.callback(output.close)
    if writer is not None:
        for listener in listeners:
            opened.callback(listener.end)
        writer.start()
        opened.callback(writer.close)


def make_writer(
    config: OutputsConfig, store: StoreOutput | None, listeners: Sequence[ClipListener]
) -> ClipWriter | None:
    """Return what writes clips, where they are wanted; `listeners` get them, and the store knows which are locked."""
    if config.clips is None:
        return None

    def record(clip: SavedClip | RemovedClip) -> None:
        for listener in listeners:
            listener.record(clip)

    return ClipWriter(config.clips, record) if store is None else ClipWriter(config.clips, record, store.locked_clips)


def complete_mqtt(
    config: MqttConfig,
    outputs: Sequence[Output[Any]],
    bundle: Bundle,
    uid: str,
    status: StatusReader,
    system: SystemClock,
    carried: Carried,
    news: threading.Event,
) -> None:
    """Have MQTT say what the device is and how it gets on, and take commands where it may."""
    from htsat_edge.runtime.daemon.outputs.mqtt.fleet import DeviceReport, ProfileReader
    from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt

    for output in outputs:
        if isinstance(output, Mqtt):
            profile = ProfileReader(config, bundle, uid, status, system)
            output.report = DeviceReport(profile, status, config.health_s)
            if config.commands:
                listening = {session.feed.name: not session.paused for session in status.sessions}
                output.accept(listening, carried.commands, news, carried.retained)


def end_pauses(config: OutputsConfig, sessions: Sequence[SourceSession], carried: Carried) -> None:
    """Have paused sources listened to again where nobody may command that any more."""
    if config.mqtt is None or not config.mqtt.commands:
        carried.retained.clear()
        for session in sessions:
            if session.paused:
                carried.commands.put(SetListening(session.feed.name, True, "the configuration, without commands"))


def record_scores(store: StoreOutput | None, sessions: Sequence[SourceSession], config: OutputsConfig) -> None:
    """Have the scores of every session stored, where there is a store, and what its rules leave out."""
    if store is None:
        return
    with_scores = config.store is not None and config.store.scores is not None
    for session in sessions:
        session.observers = [*session.observers, ScoreRecorder(store, session, with_scores)]


def check_names(names: Sequence[str]) -> None:
    """Raise an HtsatEdgeError where two sources have one name: their events could not be told apart."""
    for name in names:
        if names.count(name) > 1:
            raise HtsatEdgeError(f"sources: {name} is there twice")


def open_model(model: Model, config: DaemonConfig, build: bool) -> Backend:
    """Open the backend that the configuration wants; with `build` an engine is built where none fits."""
    wanted = config.model
    threads = wanted.threads or max(1, cores() - 1)
    if (server := wanted.server) is not None:
        return model.open_lasting(server, wanted.precision, build, threads)
    return model.open(wanted.precision, wanted.local_backend, build, threads)


def describe_model(model: Model, backend: Backend) -> str:
    """Return what listens, in a line: the bundle, its classes, and what runs which of its graphs or engines."""
    engine = getattr(present_backend(backend), "manifest", None)
    precision = "" if engine is None else f", {engine.recipe.precision}"
    runs = f"{backend_name(backend)}{precision}"
    return f"{model.bundle.path}: {model.info.name}, {len(model.info.labels)} classes, on {runs}"


def make_sources(config: DaemonConfig, info: ModelInfo, news: threading.Event, carried: Carried) -> dict[str, Source]:
    """Return the sources by name, those that are carried on as they are."""
    check_names([one.name for one in config.sources])
    known = carried.sources
    return {one.name: known[one.name] if one.name in known else make_source(one, info, news) for one in config.sources}


def make_source(config: SourceConfig, info: ModelInfo, news: threading.Event) -> Source:
    """Return a source with its feeds."""
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


def make_outputs(
    config: OutputsConfig,
    labels: Mapping[str, Sequence[str]],
    levels: Mapping[str, bool],
    session: str,
) -> list[Output[Any]]:
    """Return the outputs that the configuration names, for events of these classes by source.

    `levels` has the sources whose level is published, and whether it is calibrated; `session` is the id of this one
    in the store and for a fleet.
    """
    outputs: list[Output[Any]] = []
    if config.stdout:
        outputs.append(Stdout())
    if config.json_lines is not None:
        outputs.append(JsonLinesFile(config.json_lines))
    if config.store is not None:
        outputs.append(StoreOutput(config.store, session))
    if config.mqtt is not None:
        from htsat_edge.runtime.daemon.outputs.mqtt.output import Mqtt

        outputs.append(Mqtt(config.mqtt, {source: sorted(own) for source, own in labels.items()}, levels, session))
    if config.webhook is not None:
        from htsat_edge.runtime.daemon.outputs.webhook import Webhook

        outputs.append(Webhook(config.webhook))
    return outputs


def make_session(
    feed: Feed,
    info: ModelInfo,
    settings: Settings,
    config: DaemonConfig,
    system: SystemClock,
    writer: ClipWriter | None,
    carried: Carried,
) -> SourceSession:
    """Return the session of a source, which goes on where the one before has ended."""
    progress = carried.progress.get(feed.name) or SourceProgress()
    if feed.name in carried.paused and progress.paused_s is None:
        progress.begin_pause()
    return SourceSession(
        feed,
        info,
        settings,
        config.health,
        system,
        make_recorders(writer, feed.name, info, settings),
        carried.rules.get(feed.name) or Rules(config.rules, feed.name),
        config.level_of(feed.name),
        progress,
        None if writer is None else ClipNamer(writer.settings.format),
    )


def make_recorders(writer: ClipWriter | None, source: str, info: ModelInfo, settings: Settings) -> list[ClipRecorder]:
    """Return what cuts the clips of a source, where clips are wanted."""
    if writer is None:
        return []
    label, privacy = writer.settings.speech_label, writer.settings.privacy
    speech = settings.classes(info).columns_of(label, info)
    if privacy == "no_speech" and not speech:
        raise HtsatEdgeError(f"outputs.clips.speech_label: {label}: the model knows no such class")
    late_s = settings.settled_s(info) + info.steps * info.step_s
    return [ClipRecorder(writer, source, speech, late_s)]
