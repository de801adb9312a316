"""Join the messages of many devices, from an MQTT broker, into one store.

A message is confirmed to the broker once it is on the disk. So whatever ends this program, the database or the broker
loses nothing: the broker sends again what was not confirmed, and what comes twice is stored once.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from htsat_edge.runtime.common.rate_limit import RepeatedWarnings
from htsat_edge.runtime.common.text import listed, plural
from htsat_edge.runtime.daemon.clock import CLOCK_SET, STEP_S, clock_offset
from htsat_edge.runtime.daemon.outputs.mqtt.broker import BrokerClient
from htsat_edge.runtime.daemon.supervision import Backoff, describe, kind_of
from htsat_edge.runtime.fleet.config import CollectorConfig
from htsat_edge.runtime.fleet.link import BrokerLink
from htsat_edge.runtime.fleet.reports import KINDS, MOST_BYTES, ReportError, read_report
from htsat_edge.runtime.fleet.writer import DAY_S, FleetWriter, TimedReport

KEY = "broker"
MOST_WAITING = 2000
"""Messages that wait to be written; the broker keeps further ones."""
PATIENCE_S = 10.0
"""For room among them: shorter than a broker waits for a sign of life."""
MOST_BATCH = 1000
TURN_S = 0.5
AWAY_S = 5.0
"""After which a broker that is away is reported."""
LINE_S = 60.0
PRUNE_S = 3600.0
FIGHT, FIGHT_S = 5, 60.0
"""So many connections within so many seconds are those of two that take each other's place."""
EARLIER = "is none of broker.topics: the broker has an earlier subscription of this client_id; give another one"
logger = logging.getLogger(__name__)


class Arrival(NamedTuple):
    """What the broker has sent."""

    topic: str
    payload: bytes
    at: float
    """When it came, in seconds since 1970."""
    mid: int
    qos: int
    connection: int
    """On which it came: the broker sends again what was not confirmed on that one."""


class FleetCollector:
    """Runs until `stop` is set, whatever happens to the broker and to the database."""

    def __init__(self, config: CollectorConfig, stop: threading.Event) -> None:
        """Prepare to collect."""
        self._config, self._stop = config, stop
        self._writer = FleetWriter(config.store.place())
        self._client = BrokerClient(config.broker, config.broker.client_id, KEY, clean_session=False, manual_ack=True)
        self._client.paho.on_message = self._receive
        self._client.paho.on_subscribe = self._subscribed
        self._arrived: queue.Queue[Arrival] = queue.Queue(MOST_WAITING)
        self._overflowed = False
        """Whether messages had to be left with the broker, which sends them again on a new connection only."""
        self._batch: list[Arrival] = []
        self._reports: list[TimedReport] = []
        """What is being written, as it came, and as it was read."""
        self._backoff, self._store_failed = Backoff(), False
        self._greeted = 0
        """Which connection was last looked at."""
        self._connected_at: deque[float] = deque(maxlen=FIGHT)
        self._connected_s = time.monotonic()
        """When there was a connection last, or was first looked for."""
        self.link = BrokerLink(connected=False, since=time.time())
        """Whether there is one; the page reads it in its own threads."""
        self._counts: Counter[str] = Counter()
        self._lost: dict[str, int] | None = None
        """Messages that never came, by device, when the last line was logged."""
        self._line_s, self._prune_s = time.monotonic() + LINE_S, time.monotonic()
        self._clock: float | None = None
        """`clock_offset` when what is too old was last looked for."""
        self._warnings = RepeatedWarnings(logger)

    def open(self) -> None:
        """Open the store; raise an HtsatEdgeError where that can never work."""
        self._writer.open()

    def run(self) -> None:
        """Collect, from an open store; raise an HtsatEdgeError where the broker's password is missing."""
        try:
            self._client.start()
            self._connected_s = time.monotonic()
            while not self._stop.is_set():
                self.turn()
        finally:
            self._client.stop()
            self._writer.release()
            self._warnings.close()

    def turn(self) -> None:
        """Write what has come, or wait for it a moment; look after everything else."""
        self._look_after_connection()
        if not self._batch:
            self._batch = self._gather()
            self._reports = self._read(self._batch)
        try:
            is_writable = self._use_store()
        except Exception as error:  # one that nobody expected must not end this, either
            self._store_failed = True
            what = describe(error)
            self._warnings.warn(kind_of(error), f"{what}; it is tried again, and the broker keeps what comes meanwhile")
            self._backoff.wait(self._stop)
            return
        if is_writable:
            self._backoff.reset()
            if self._store_failed:
                self._store_failed = False
                logger.warning("the store can be written again")

    def _use_store(self) -> bool:
        """Write what has come, and keep house; return whether there was anything to ask of the store."""
        self._writer.look()
        has_come = bool(self._batch)
        if has_come:
            self._write()
        has_kept_house = self._keep_house()
        if self._writer.has_reopened:  # what is retained comes with a subscription only
            self._writer.has_reopened = False
            self._subscribe()
        return has_come or has_kept_house

    def _gather(self) -> list[Arrival]:
        """Return what has come, after a moment at the latest."""
        batch: list[Arrival] = []
        try:
            batch.append(self._arrived.get(timeout=TURN_S))
            while len(batch) < MOST_BATCH:
                batch.append(self._arrived.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _write(self) -> None:
        """Write the batch, and confirm it."""
        begun = time.monotonic()
        self._writer.write(self._reports)
        self._counts["slowest_ms"] = max(self._counts["slowest_ms"], int(1000 * (time.monotonic() - begun)))
        connection = self._client.connections
        for arrival in self._batch:
            if arrival.connection == connection and arrival.qos:
                self._client.paho.ack(arrival.mid, arrival.qos)
        self._batch, self._reports = [], []
        if self._overflowed and self._arrived.empty():
            self._overflowed = False
            self._client.stop()
            self._client.paho.connect_async(self._config.broker.host, self._config.broker.port)
            self._client.paho.loop_start()

    def _read(self, batch: Sequence[Arrival]) -> list[TimedReport]:
        """Return a batch as reports, without what is none."""
        reports = []
        for arrival in batch:
            try:
                report = read_report(arrival.topic, arrival.payload)
                if report is not None and not self._config.broker.has(report.device):
                    raise ReportError(EARLIER)
                if report is not None:
                    reports.append(TimedReport(report, arrival.at))
            except ReportError as error:
                self._counts["unreadable"] += 1
                self._warnings.warn("unreadable", f"{arrival.topic[:200]}: {error}; it is left out")
        return reports

    # In paho's thread, which must not wait

    def _receive(self, _: Any, __: Any, message: Any) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # no broker should let it through
            topic = ""
        payload, connection = message.payload[: MOST_BYTES + 1], self._client.connections
        arrival = Arrival(topic, payload, time.time(), message.mid, message.qos, connection)
        until_s = time.monotonic() + PATIENCE_S
        while not (self._overflowed or self._stop.is_set()):  # else it is left with the broker
            try:
                self._arrived.put(arrival, timeout=TURN_S)
                return
            except queue.Full:
                self._overflowed = time.monotonic() > until_s

    def _subscribed(self, _: Any, __: Any, ___: Any, reasons: Any, ____: Any = None) -> None:
        if any(reason.is_failure for reason in reasons):
            self._warnings.warn("subscribe", f"{KEY}: the broker refuses what is subscribed to; see its access list")
        else:
            logger.info("listening to %s at %s", listed(self._config.broker.topics), self._client.address)

    # What goes on beside

    def _look_after_connection(self) -> None:
        client, now = self._client, time.monotonic()
        client.keep_running()
        connected = client.connected.is_set()
        if connected != self.link.connected:
            self.link = BrokerLink(connected=connected, since=time.time())
        if not connected:
            if client.fault or now - self._connected_s > AWAY_S:
                self._warnings.warn("connection", f"{KEY}: {client.problem}; it is tried again")
            return
        self._connected_s = now
        connection = client.connections
        if connection == self._greeted:
            return
        if self._greeted and not client.session_present:
            self._warnings.warn(
                "forgotten",
                f"{KEY}: the broker has forgotten this collector, and what it kept for it; does it save that "
                "(persistence true), and for long enough?",
            )
        self._greeted = connection
        self._warnings.forget("connection")  # the next loss is another one
        self._subscribe()
        self._notice_fight()

    def _subscribe(self) -> None:
        self._client.paho.subscribe([(f"{topic}/{kind}", 1) for topic in self._config.broker.topics for kind in KINDS])

    def _notice_fight(self) -> None:
        """Report where two take each other's place; a broker closes the connection of the one before without a word."""
        now = time.monotonic()
        self._connected_at.append(now)
        if len(self._connected_at) == FIGHT and now - self._connected_at[0] < FIGHT_S:
            self._warnings.warn(
                "fight",
                f"{KEY}: the broker closes the connection again and again; does another collector run with "
                f"client_id: {self._config.broker.client_id}?",
            )

    def _keep_house(self) -> bool:
        """Log a line a minute, and delete what is too old once an hour; return whether either was due."""
        now = time.monotonic()
        if is_line := now >= self._line_s:
            self._line_s = now + LINE_S
            self._log_line()
        if is_old := now >= self._prune_s and time.time() >= CLOCK_SET:
            self._prune_s = now + PRUNE_S
            self._prune()
        return is_line or is_old

    def _log_line(self) -> None:
        devices = self._writer.devices()
        lost_before, self._lost = self._lost, {device: lost for device, _, lost in devices}
        for device, lost in self._lost.items():
            if lost_before is not None and lost > (known := lost_before.get(device, 0)):
                more = plural(lost - known, "message")
                self._warnings.warn(f"lost {device}", f"{device}: {more} never came, {lost} in all")
        counts = self._counts + self._writer.counts
        self._counts.clear()
        self._writer.counts.clear()
        left_out = counts["unreadable"] + counts["refused"]
        silent = self._writer.count_silent(time.time() if self.link.connected else self.link.since)
        logger.info(
            "%s, %d online%s; in the last minute %d messages stored, %d came again, %d left out; %d wait; "
            "slowest write %d ms%s",
            plural(len(devices), "device"),
            sum(online is True for _, online, _ in devices) - silent,
            f", {silent} silent" if silent else "",
            counts["stored"],
            counts["repeated"],
            left_out,
            self._arrived.qsize(),
            counts["slowest_ms"],
            "" if self._client.connected.is_set() else "; not connected to the broker",
        )

    def _prune(self) -> None:
        """Delete what is too old, unless the clock was set and disagrees with what was stored last: it may be wrong."""
        now, before, self._clock = time.time(), self._clock, clock_offset()
        has_stood = before is not None and abs(self._clock - before) < STEP_S
        is_right = has_stood or (newest := self._writer.newest()) is None or abs(now - newest) < DAY_S
        if is_right and self._writer.prune(now, self._config.store.keep_days):
            self._prune_s = time.monotonic()  # go on in the next turn, after what has come
