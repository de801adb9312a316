"""What people see of a daemon in Home Assistant, through a real broker."""

import json
import re
import time

import pytest

pytestmark = pytest.mark.usefixtures("short_pauses")
DOG = "htsat-edge/yard/dog"


def states(broker, topic=DOG):
    return [content for at, content in broker.heard if at == topic]


def test_a_bark_is_on_for_a_while_and_off_then(broker, connect, make_events, wait_for):
    output = connect(off_delay_s=0.2)
    for kind in ("start", "end"):
        output.offer(*make_events(1, kind=kind))
    wait_for(lambda: states(broker) == ["OFF", "ON", "OFF"])
    assert output.sent == 2


def test_it_stays_on_until_the_delay_is_over_whatever_else_comes(broker, connect, make_events, wait_for):
    output = connect(off_delay_s=1000)
    for number in range(3):
        for kind in ("start", "end"):
            output.offer(*make_events(1, first=number, kind=kind))
    output.offer(*make_events(1, label="Cattle, bovinae"))
    wait_for(lambda: broker.last("htsat-edge/yard/cattle_bovinae") == "ON")
    assert states(broker) == ["OFF", "ON", "ON", "ON"]
    output._off_s["yard", "Dog"] = time.monotonic()
    output.offer(*make_events(1, label="Cattle, bovinae", kind="end"))  # while messages come as well
    wait_for(lambda: broker.last(DOG) == "OFF")
    assert broker.last("htsat-edge/yard/cattle_bovinae") == "ON"
    output.close()
    wait_for(lambda: broker.last("htsat-edge/status") == "offline")
    assert broker.last("htsat-edge/yard/cattle_bovinae") == "OFF"


def test_one_that_goes_on_for_longer_than_the_delay_is_off_at_its_end(broker, connect, make_events, wait_for):
    output = connect(off_delay_s=1000)
    output.offer(*make_events(1))
    wait_for(lambda: broker.last(DOG) == "ON")
    output._started_s["yard", "Dog"] -= 1000
    output.offer(*make_events(1, kind="end"))
    wait_for(lambda: broker.last(DOG) == "OFF")


def test_classes_that_were_taken_out_of_the_configuration_go(broker, connect, make_events, wait_for):
    """With their announcements and states; what others have announced, and other sources, stay."""
    before = connect(sources=["yard", "gate"], labels=["Dog", "Cat"])
    cat = "homeassistant/binary_sensor/htsat_edge_{}/cat/config".format
    theirs = "homeassistant/binary_sensor/htsat_edge_yard/theirs/config"
    wait_for(lambda: broker.last("htsat-edge/yard/cat") == "OFF" and broker.last("htsat-edge/gate/cat") == "OFF")
    before._publish(theirs, json.dumps({"device": {"manufacturer": "somebody"}, "state_topic": "their/state"}), True)
    before.close()
    connect(sources=["yard"], labels=["Dog"])
    wait_for(lambda: broker.last(cat("yard")) == "" and broker.last("htsat-edge/yard/cat") == "")
    assert broker.last("homeassistant/binary_sensor/htsat_edge_yard/dog/config")
    assert json.loads(broker.last(cat("gate")))["name"] == "Cat"
    assert json.loads(broker.last(theirs))["state_topic"] == "their/state"


def test_names_that_are_not_ascii_are_announced_so_that_they_are_taken(broker, connect, make_events, wait_for):
    connect(["Küche", "Kuche"], ["Hündin", "Hundin"], topic="haus/hütte").offer(
        *make_events(1, source="Küche", label="Hündin")
    )
    wait_for(lambda: broker.last("haus/hütte/küche/hündin") == "ON")
    wait_for(lambda: len(states(broker, "haus/hütte/kuche/hundin")) == 1)
    announced = {at: json.loads(content) for at, content in broker.heard if at.endswith("/config")}
    assert len(announced) == len({sensor["unique_id"] for sensor in announced.values()}) == 4
    wanted = re.compile(r"homeassistant/binary_sensor/[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/config")
    assert all(wanted.fullmatch(topic) for topic in announced)
    assert {sensor["name"] for sensor in announced.values()} == {"Hündin", "Hundin"}


def test_a_daemon_that_is_there_contradicts_that_it_is_not(broker, connect, wait_for):
    """A broker notices a lost connection minutes later, when the same daemon has long had another."""
    output = connect()
    wait_for(lambda: broker.last("htsat-edge/status") == "online")
    output._publish("htsat-edge/status", "offline", retain=True)
    wait_for(lambda: states(broker, "htsat-edge/status")[-2:] == ["offline", "online"])


def test_two_daemons_of_one_topic_and_host_live_side_by_side(broker, connect, make_events, wait_for):
    first, second = connect(sources=["yard"]), connect(sources=["gate"])
    for number in range(3):
        first.offer(*make_events(1, first=number))
        second.offer(*make_events(1, first=number, source="gate"))
        wait_for(lambda number=number: first.sent == second.sent == number + 1)
    assert set(states(broker, "htsat-edge/status")) == {"online"}  # a broker that throws one out says that it is gone
    assert (first.failures, second.failures) == (0, 0)
    first.close()
    wait_for(lambda: states(broker, "htsat-edge/status")[-2:] == ["offline", "online"])
