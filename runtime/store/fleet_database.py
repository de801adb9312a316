"""The store of a fleet, open for writing."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from htsat_edge.runtime.store.database import Database
from htsat_edge.runtime.store.engine import StorePlace
from htsat_edge.runtime.store.fleet import count_silent
from htsat_edge.runtime.store.numbers import SeenNumbers
from htsat_edge.runtime.store.problems import ContentError, StoreError


@dataclass
class _SessionNumbers:
    """What has come of a session in this transaction."""

    device: str
    numbers: SeenNumbers
    at: float | None = None
    """When the last that is new came; None where none is."""
    lost: int = 0


class FleetDatabase(Database):
    """A database of many devices, each with its sessions; a context, as its base."""

    def __init__(self, place: StorePlace) -> None:
        """Open a database, as its base does, and with the same errors."""
        super().__init__(place)
        self._taken: dict[int, _SessionNumbers] = {}

    def __exit__(self, kind: type[BaseException] | None, *more: object) -> None:
        try:
            if kind is None:
                self._write_taken()
        except BaseException as error:
            super().__exit__(type(error), *more)
            raise
        else:
            super().__exit__(kind, *more)
        finally:
            self._taken.clear()

    def device_session(self, device: str, uid: str, started_at: float) -> int:
        """Return the number of a device's session, which is added where it is not there.

        Raise a ContentError where it is one of another device.
        """
        number, owner = self._find_session(uid, started_at, device)
        if owner != device:
            raise ContentError(f"{device}: names a session of {owner or 'another store'}")
        return number

    def expect(self, sessions: Collection[int]) -> None:
        """Read at once what `take` needs of these sessions; on a network, one by one takes longer than to write."""
        rows = self._connection.execute(
            "SELECT id, device, first_number, last_number, missing FROM sessions "
            f"WHERE last_number IS NOT NULL AND id IN ({', '.join('?' * len(sessions))})",
            [*sessions],
        )
        for session, device, first, last, missing in rows.fetchall():
            if session not in self._taken:
                self._taken[session] = _SessionNumbers(device, SeenNumbers.read(first, last, missing))

    def take(self, session: int, number: int, at: float) -> bool:
        """Return whether the message with this number is to be stored: False where it was stored already.

        Numbers that are left out count as lost, until they come late. A device that is new here begins with the first
        number that comes, and every later session of it with 1.
        """
        if session not in self._taken:
            self.expect([session])
        if (taken := self._taken.get(session)) is None:
            taken = self._taken[session] = self._begin(session, number)
        lost = taken.numbers.add(number)
        if lost is None:
            return False
        taken.lost, taken.at = taken.lost + lost, at
        return True

    def last_at(self) -> float | None:
        """Return when the last message was stored, in seconds since 1970; None without one."""
        (at,) = self._connection.execute("SELECT max(last_at) FROM devices").fetchone()
        return None if at is None else float(at)

    def put_info(self, device: str, info: str, place: str | None, at: float) -> None:
        """Store what a device says that it is, as JSON; the same again changes nothing."""
        self._connection.execute(
            "INSERT INTO devices (device, first_at, place, info, info_at) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (device) DO UPDATE SET place = excluded.place, info = excluded.info, "
            "info_at = excluded.info_at WHERE devices.info IS NULL OR devices.info != excluded.info",
            (device, at, place, info, at),
        )

    def put_health(self, device: str, health: str, at: float) -> None:
        """Store how a device says that it gets on, as JSON; the same again changes nothing."""
        self._connection.execute(
            "INSERT INTO devices (device, first_at, health, health_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (device) DO UPDATE SET health = excluded.health, health_at = excluded.health_at "
            "WHERE devices.health IS NULL OR devices.health != excluded.health",
            (device, at, health, at),
        )

    def set_online(self, device: str, online: bool, at: float) -> None:
        """Store whether a device is connected to its broker; the same again changes nothing."""
        self._connection.execute(
            "INSERT INTO devices (device, first_at, online, online_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (device) DO UPDATE SET online = excluded.online, online_at = excluded.online_at "
            "WHERE devices.online IS NULL OR devices.online != excluded.online",
            (device, at, int(online), at),
        )

    def forget(self, device: str) -> None:
        """Delete what a device is, but not its events: it is gone for good, unless more of it comes."""
        self._write_taken(device)
        self._connection.execute("DELETE FROM devices WHERE device = ?", (device,))

    def fleet(self) -> list[tuple[str, bool | None, int]]:
        """Return each device, whether it is connected, and how many messages of it never came."""
        rows = self._connection.execute("SELECT device, online, lost FROM devices ORDER BY device").fetchall()
        return [(device, None if online is None else bool(online), lost) for device, online, lost in rows]

    def count_silent(self, as_of: float) -> int:
        """Return how many devices say nothing, although they are connected; `as_of` is when the broker was reached."""
        return count_silent(self._connection, as_of)

    def _begin(self, session: int, number: int) -> _SessionNumbers:
        """Return the numbers of a session of which none has come."""
        row = self._connection.execute("SELECT device FROM sessions WHERE id = ?", (session,)).fetchone()
        if row is None:
            raise StoreError(f"session {session} was deleted meanwhile; what comes of it is stored anew")
        (device,) = row
        is_known = (
            any(taken.device == device for taken in self._taken.values())
            or self._connection.execute(
                "SELECT 1 FROM sessions WHERE device = ? AND last_number IS NOT NULL LIMIT 1", (device,)
            ).fetchone()
        )
        return _SessionNumbers(device, SeenNumbers(1 if is_known else number))

    def _write_taken(self, device: str | None = None) -> None:
        """Write what has come in this transaction; of all devices, or of one."""
        for session, taken in sorted(self._taken.items(), key=lambda one: one[1].at or 0):  # the newest says `last_at`
            if taken.at is None or device not in (None, taken.device):
                continue
            numbers = taken.numbers
            self._connection.execute(
                "UPDATE sessions SET first_number = ?, last_number = ?, missing = ? WHERE id = ?",
                (numbers.first, numbers.last, numbers.written, session),
            )
            self._connection.execute(
                "INSERT INTO devices (device, first_at, last_at, lost) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (device) DO UPDATE SET last_at = excluded.last_at, lost = devices.lost + excluded.lost",
                (taken.device, taken.at, taken.at, taken.lost),
            )
            taken.at, taken.lost = None, 0
