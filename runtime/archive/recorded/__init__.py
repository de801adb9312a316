"""When and where a recording was made, by what is written in it or by its name."""

from htsat_edge.runtime.archive.recorded.origin import read_origin
from htsat_edge.runtime.archive.recorded.zones import parse_zone, with_zone

__all__ = ["parse_zone", "read_origin", "with_zone"]
