"""What a writer remembers of devices beside the store: what they are, and what they have said of themselves."""

import itertools
import json
import multiprocessing

import pytest

from htsat_edge.runtime.fleet import writer as module
from htsat_edge.runtime.fleet.reports import read_report
from htsat_edge.runtime.fleet.store_check import check_store
from htsat_edge.runtime.fleet.writer import FleetWriter, TimedReport

AT = 1_790_000_000.0
SAID = ("online", "offline", "message", "info", "health", "forget")


def report(device, kind, content=b"", at=AT):
    """What came of a device; of a dict as JSON."""
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return TimedReport(read_report(f"{device}/{kind}", payload), at)


def message(device, number, session="one"):
    status = {"type": "status", "source": None, "state": "running", "time": None}
    return report(device, "messages", {"session": f"{session} of {device}", "number": number, "message": status})


def info(device, session="one", started_at="2026-09-21T10:00:00+00:00"):
    return report(device, "info", {"session": f"{session} of {device}", "started_at": started_at})


def say(device, kind, number):
    match kind:
        case "online" | "offline":
            return report(device, "status", kind.encode())
        case "message":
            return message(device, number)
        case "info":
            return info(device)
        case "health":
            return report(device, "health", {"load": number})
    return report(device, "info")


def wanted(order):
    """Return whether a device that says this is online, and its health; None where it is no device."""
    known, online, load = False, None, None
    for number, kind in enumerate(order, start=1):
        match kind:
            case "online" | "offline":
                online = int(kind == "online")
            case "message" | "info":
                known = True
            case "health":
                load = number if known else None
            case _:
                online, load, known = None if known else online, None, False
    return (online, load) if known else None


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_last_that_a_device_said_holds_in_whatever_order_it_comes(make_store, size, closed):
    """Of each order of four, by a device of its own; the database is closed between batches, as after an error."""
    store = make_store()
    orders = {f"device/{number}": order for number, order in enumerate(itertools.product(SAID, repeat=4))}
    writer = FleetWriter(store.place)
    for begin in range(0, 4, size):
        writer.write(
            [say(device, order[i], i + 1) for device, order in orders.items() for i in range(begin, begin + size)]
        )
        if closed:
            writer.close()
    writer.close()
    rows = store.ask("SELECT device, online, health FROM devices")
    found = {device: (online, json.loads(health)["load"] if health else None) for device, online, health in rows}
    assert found == {device: said for device, order in orders.items() if (said := wanted(order)) is not None}


def test_a_batch_that_is_refused_makes_nobody_forget_the_devices(fleet_store):
    """Nor what one has said that is shown to be a device only in that batch."""
    before = FleetWriter(fleet_store.place)
    before.write([message("barn", 1)])
    before.close()
    writer = FleetWriter(fleet_store.place)
    thief = report("thief", "messages", {"session": "one of barn", "number": 2, "message": {"type": "newer"}})
    online = report("gate", "status", b"online")
    writer.write([online, message("gate", 1), report("barn", "health", {"load": 1}), thief])
    writer.write([report("yard", "status", b"online")])
    writer.write([message("yard", 1), thief])
    writer.close()
    assert writer.counts == {"stored": 2, "refused": 2}
    assert not writer.has_reopened
    rows = fleet_store.ask("SELECT device, online, health FROM devices ORDER BY device")
    assert rows == [("barn", None, '{"load": 1}'), ("gate", 1, None), ("yard", 1, None)]


@pytest.mark.parametrize(
    ("said", "started_at"),
    [
        ([info("barn")], 1_789_984_800.0),
        ([info("barn", started_at="2036-09-21T10:00:00+00:00")], AT),
        ([info("barn", "two")], AT),
        ([info("yard")], AT),
        ([], AT),
    ],
    ids=["said", "clock ahead", "of another session", "of another device", "nothing"],
)
def test_a_session_begins_when_its_device_says(make_store, said, started_at):
    store = make_store()
    writer = FleetWriter(store.place)
    writer.write([*said, message("barn", 1)])
    writer.close()
    assert store.ask("SELECT uid, started_at FROM sessions") == [("one of barn", started_at)]


def test_what_it_remembers_has_bounds(make_store, monkeypatch):
    """A topic or a session may be anybody's."""
    monkeypatch.setattr(module, "MOST_HELD", 2)
    monkeypatch.setattr(module, "MOST_SESSIONS", 2)
    store, devices = make_store(), ["barn", "gate", "yard"]
    writer = FleetWriter(store.place)
    writer.write([report(device, "status", b"online") for device in devices])
    writer.write([report("gate", "status", b"offline")])
    writer.write([message(device, 1, session) for session in ("one", "two", "three") for device in devices])
    writer.close()
    assert writer.counts == {"stored": 9}
    assert store.ask("SELECT device, online FROM devices ORDER BY device") == [("barn", 1), ("gate", 0), ("yard", None)]


def test_once_released_another_process_may_write_it(tmp_path):
    place = tmp_path / "new" / "fleet.db"
    writer = FleetWriter(place)
    writer.open()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(Exception, match="is written by another htsat-edge"):
            pool.apply(check_store, [place])
        writer.release()
        pool.apply(check_store, [place])
