"""What a scan has done and found so far, in its folder of results; the same command goes on from there."""

from htsat_edge.runtime.archive.journal.journal import Journal, JournalTotals
from htsat_edge.runtime.archive.journal.key import key_of
from htsat_edge.runtime.archive.journal.rows import KeptEvent, KeptRecording

__all__ = ["Journal", "JournalTotals", "KeptEvent", "KeptRecording", "key_of"]
