"""Thresholds that are written into the configuration by a thread of their own."""

import threading
from queue import SimpleQueue

from htsat_edge.runtime.daemon.commander import ThresholdWriter
from htsat_edge.runtime.daemon.control import SetThreshold


def test_what_waits_while_another_one_is_written_is_written_before_the_end(wait_for):
    written, going_on = [], threading.Event()

    def write(source, label, threshold):
        written.append((source, label, threshold))
        going_on.wait(20)

    writer = ThresholdWriter(write, SimpleQueue(), threading.Event())
    writer.start()
    writer.put(SetThreshold("yard", "Dog", 0.2, "MQTT"))
    wait_for(lambda: written)
    writer.put(SetThreshold("yard", "Cat", 0.3, "MQTT"))
    closing = threading.Thread(target=writer.close)
    closing.start()
    wait_for(writer._stop.is_set)
    going_on.set()
    closing.join()
    assert written == [("yard", "Dog", 0.2), ("yard", "Cat", 0.3)]
