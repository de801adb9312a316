"""A worker whose model is a fake that does what the name of a recording says."""

import os
import signal
import sys
import time
from multiprocessing.connection import Connection

from htsat_edge.runtime.archive.records import FoundEvent, FoundInRecording, Quality, Span, SpanScores
from htsat_edge.runtime.archive.worker import serve
from htsat_edge.runtime.common.errors import HtsatEdgeError


class FakeHearer:
    def __init__(self, settings):
        self.settings = settings
        if settings.source == "unable":
            raise HtsatEdgeError("the model cannot be loaded")
        if settings.source == "stillborn":
            os.kill(os.getpid(), signal.SIGKILL)

    def plan(self, path):
        count = 3 if path.name.startswith("long") else 1
        return [Span(path, number, count) for number in range(count)]

    def hear(self, span, report):
        report(10.0)
        match span.path.stem.rpartition("-")[2]:
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "slow":
                time.sleep(0.05)
            case "hang":
                time.sleep(600)
            case "bad":
                raise HtsatEdgeError("is no audio")
            case "bug":
                raise ZeroDivisionError("division\nby zero")
        return SpanScores(span, (), Quality(), 32_000, 1, 10.0)

    def finish(self, path, heard):
        onsets = [float(one.span.number) for one in heard]
        events = tuple(FoundEvent(0, path.name, onset, onset + 0.5, 0.75) for onset in onsets)
        return FoundInRecording(10.0 * len(heard), os.getpid(), 1, Quality(), events)

    def write_scores(self, path, heard):
        path.write_text(str(len(heard)))


serve(Connection(int(sys.argv[1])), FakeHearer)
