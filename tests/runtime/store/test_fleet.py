"""What a page of a fleet asks, on both engines."""

import pytest

from htsat_edge.runtime.store.records import EventFilter, FleetDevice, PlaceCount

AT = 1_777_663_800.0
"""2026-05-01 19:30 in UTC."""
HOUR = 3600.0


def test_no_devices_in_a_device_s_own_store(filler, reader):
    filler.event("Dog", 1.0, 2.0)
    assert (reader.devices(), reader.places(0, 1e11)) == ([], [])
    assert reader.events(EventFilter(), 9).events[0].device is None
    assert reader.events(EventFilter(devices=["barn"]), 9).total == 0


def test_a_device_as_it_was_heard_of_last(fleet, fleet_reader):
    with fleet.database:
        fleet.database.put_info("barn", '{"version": "1"}', "Barn", AT)
        fleet.database.put_health("barn", '{"load": 0.5}', AT + 1)
        fleet.database.set_online("barn", True, AT + 2)
    fleet.take(1, 4, at=AT + 3)
    assert fleet_reader.devices(AT) == [
        FleetDevice(
            device="barn",
            place="Barn",
            info={"version": "1"},
            info_at=AT,
            health={"load": 0.5},
            health_at=AT + 1,
            online=True,
            online_at=AT + 2,
            last_at=AT + 3,
            events_today=0,
            coverage=None,
            lost=2,
        )
    ]


def test_the_same_again_changes_nothing_and_another_all(fleet, fleet_reader):
    """A broker sends what is retained to each collector that connects."""
    for at, place, content, online in (
        (1, "Barn", "{}", True),
        (2, "Barn", "{}", True),
        (3, "Gate", '{"a": 1}', False),
    ):
        with fleet.database:
            fleet.database.put_info("barn", content, place, AT + at)
            fleet.database.put_health("barn", content, AT + at)
            fleet.database.set_online("barn", online, AT + at)
        (device,) = fleet_reader.devices(AT)
        since = {AT + (1 if at < 3 else 3)}
        assert {device.info_at, device.health_at, device.online_at} == since
        assert (device.place, device.online) == (place, online)
    with fleet.database:
        fleet.database.forget("barn")
    assert fleet_reader.devices(AT) == []


def test_events_of_today_are_counted_here(fleet, fleet_reader, in_zone):
    in_zone("Europe/Berlin")
    midnight = 2.5 * HOUR  # 2026-05-02 in Berlin
    for onset, uid in ((midnight - 1, "barn/one"), (midnight, "barn/one"), (midnight + 5, "barn/two")):
        fleet.event("Dog", onset, onset + 0.5, uid=uid)
    fleet.take(1, uid="gate/one")
    with fleet.database:
        fleet.database.set_online("barn", True, AT)
    assert {one.device: one.events_today for one in fleet_reader.devices(AT + midnight + 60)} == {"barn": 2, "gate": 0}
    assert {one.device: one.events_today for one in fleet_reader.devices(AT + midnight - 60)} == {"barn": 3, "gate": 0}


def covered(fleet, hour, share, source="yard", uid="barn/one"):
    """Store what a device says of an hour, when it is over."""
    more = {"onset": (hour - 1) * HOUR, "offset": hour * HOUR, "share": share}
    fleet.status("coverage", hour * HOUR, source, more, uid=uid)


@pytest.fixture
def known(fleet):
    """A device that is known since AT."""
    with fleet.database:
        fleet.database.set_online("barn", True, AT)
    return fleet


def coverage(reader, hour):
    (device,) = reader.devices(AT + hour * HOUR)
    return device.coverage


def test_coverage_is_what_was_heard_of_the_time_that_is_known(known, fleet_reader):
    assert coverage(fleet_reader, 0.5) is None
    covered(known, 1, 1.0)
    covered(known, 2, 0.5)
    assert coverage(fleet_reader, 2.1) == pytest.approx(0.75)
    assert coverage(fleet_reader, 3.0) == pytest.approx(0.75)  # the third hour is not said yet
    assert coverage(fleet_reader, 5 + 65 / 60) == pytest.approx(1.5 / 5)  # and now three are missing
    covered(known, 1, 0.0, source="pond")
    covered(known, 2, 0.5, source="pond")
    assert coverage(fleet_reader, 2.1) == pytest.approx((0.75 + 0.25) / 2)


def test_coverage_is_of_a_day(known, fleet_reader):
    for hour in range(1, 31):
        covered(known, hour, float(hour > 12))
    assert coverage(fleet_reader, 30) == pytest.approx(18 / 24)
    assert coverage(fleet_reader, 30.5) == pytest.approx(18 / 23.5)
    assert coverage(fleet_reader, 60) is None


def test_what_a_device_says_otherwise_of_an_hour_is_left_out(known, fleet_reader):
    for onset, offset, share in (
        (None, HOUR, 1.0),
        (0, HOUR, None),
        (0, HOUR, "half"),
        (0, HOUR, 1.5),
        (0, 10**400, 1.0),
        (HOUR, HOUR, 1.0),
        (-1e12, HOUR, 1.0),
    ):
        known.status("coverage", HOUR, more={"onset": onset, "offset": offset, "share": share}, uid="barn/one")
    known.status("coverage", HOUR, more={"share": 1.0}, uid="barn/one")
    assert coverage(fleet_reader, 1.5) is None
    covered(known, 1, 0.25)
    assert coverage(fleet_reader, 1.5) == pytest.approx(0.25)


@pytest.fixture
def farm(fleet):
    """Three devices at two places, and one that says none, each with a source `yard`."""
    devices = {"barn": "Farm", "gate": "Farm", "pond": "Wood", "new": None}
    with fleet.database:
        for device, place in devices.items():
            fleet.database.put_info(device, "{}", place, AT)
    for i, device in enumerate(devices):
        for k in range(i + 1):
            fleet.event("Dog" if k % 2 else "Bird", 10.0 * k + i, 10.0 * k + i + 1, uid=f"{device}/one")
        fleet.gap(i, i + 1.0, uid=f"{device}/one")
        fleet.status("listening", float(i), uid=f"{device}/one")
    return fleet


def test_events_of_devices_and_places(farm, fleet_reader):
    def devices(**wanted):
        page = fleet_reader.events(EventFilter(**wanted), 99)
        assert page.total == len(page.events) == sum(day.count for day in fleet_reader.days(EventFilter(**wanted)))
        assert page.total == sum(row.count for row in fleet_reader.figures(EventFilter(**wanted)).labels)
        return {event.device for event in page.events}, page.total

    assert devices() == ({"barn", "gate", "pond", "new"}, 10)
    assert devices(devices=["gate"], sources=["yard"]) == ({"gate"}, 2)
    assert devices(devices=["gate", "pond"], labels=["Dog"]) == ({"gate", "pond"}, 2)
    assert devices(places=["Farm"]) == ({"barn", "gate"}, 3)
    assert devices(places=["Wood", "Sea"], devices=["pond", "barn"]) == ({"pond"}, 3)
    assert devices(devices=["'; DROP TABLE events"]) == (set(), 0)


def test_alarms_by_place(farm, fleet_reader):
    rows = [("Farm", "Bird", 2), (None, "Bird", 2), ("Wood", "Bird", 2), (None, "Dog", 2), ("Farm", "Dog", 1)]
    rows.append(("Wood", "Dog", 1))
    found = [(row.place, row.label, row.count) for row in fleet_reader.places(0, 1e11)]
    assert sorted(found, key=str) == sorted(rows, key=str)
    assert [count for *_, count in found] == sorted((count for *_, count in found), reverse=True)
    assert fleet_reader.places(AT + 1, AT + 2) == [PlaceCount(place="Farm", label="Bird", count=1)]
    assert fleet_reader.places(AT + 100, AT + 200) == []


def test_gaps_and_statuses_of_a_device(farm, fleet_reader):
    assert [(gap.device, gap.onset) for gap in fleet_reader.gaps(0, 1e11)] == [
        ("new", 3),
        ("pond", 2),
        ("gate", 1),
        ("barn", 0),
    ]
    assert [gap.device for gap in fleet_reader.gaps(0, 1e11, source="yard", device="pond")] == ["pond"]
    assert [status.device for status in fleet_reader.statuses(0, 1e11)] == ["new", "pond", "gate", "barn"]
    assert [status.device for status in fleet_reader.statuses(0, 1e11, ["listening"], "yard", 9, "gate")] == ["gate"]


def test_one_device(farm, fleet_reader):
    covered(farm, 1, 0.5, uid="gate/one")
    now = AT + HOUR
    gate = fleet_reader.device("gate", now)
    assert (gate.device, gate.place, gate.events_today, gate.coverage) == ("gate", "Farm", 2, 0.5)
    assert gate in fleet_reader.devices(now)
    assert fleet_reader.device("gat", now) is None


@pytest.mark.parametrize("said", ['{"a": ' + 5000 * "9" + "}", 60_000 * "["])
def test_what_no_program_should_say_of_itself(farm, fleet_reader, said):
    """The others are shown all the same."""
    with farm.database:
        farm.database.put_info("barn", said, "Farm", AT)
        farm.database.put_health("gate", said, AT)
    assert {one.device: (one.info, one.health) for one in fleet_reader.devices(AT)} == {
        "barn": (None, None),
        "gate": ({}, None),
        "new": ({}, None),
        "pond": ({}, None),
    }
