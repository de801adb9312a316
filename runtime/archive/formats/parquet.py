"""Tables of all recordings as Parquet, by pyarrow."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from htsat_edge.runtime.archive.formats.rows import FileEvents, TableEvent, TableFile
from htsat_edge.runtime.archive.formats.tables import columns, known, rounded
from htsat_edge.runtime.common.libraries import needing_archive

GROUP_ROWS = 1 << 16
"""Rows that are in memory at once, and lie together in the file."""
TYPES: Mapping[str, str] = {
    **dict.fromkeys(("file", "label", "time", "end_file", "start", "start_from", "recorder", "failure"), "string"),
    **dict.fromkeys(("channel", "sample_rate", "channels", "dropouts", "events"), "int32"),
    **dict.fromkeys(("onset", "offset", "score", "duration", "latitude", "longitude"), "float64"),
    **dict.fromkeys(("level_dbfs", "peak_dbfs", "clipped_percent", "silent_s"), "float64"),
}
"""Of each column, as pyarrow names them."""


def require_pyarrow() -> None:
    """Raise an HtsatEdgeError where pyarrow is missing."""
    with needing_archive("Parquet", "pyarrow"):
        import pyarrow.parquet  # noqa: F401


def write_parquet(stream: IO[bytes], recordings: Iterable[FileEvents], continuous: bool = False) -> None:
    """Write a row an event."""
    _write(stream, columns(continuous), (rounded(event) for one in recordings for event in one.events))


def write_parquet_files(stream: IO[bytes], files: Iterable[TableFile]) -> None:
    """Write a row a recording."""
    _write(stream, TableFile._fields, files)


def _write(stream: IO[bytes], names: Sequence[str], rows: Iterable[TableEvent | TableFile]) -> None:
    """Write rows in groups, so that memory does not grow with them."""
    require_pyarrow()
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = pyarrow.schema([(name, pyarrow.type_for_alias(TYPES[name])) for name in names])
    with ParquetWriter(stream, schema, compression="zstd") as writer:
        for group in _groups(rows):
            cells = zip(*group, strict=True)
            arrays = [pyarrow.array(map(known, cell), field.type) for cell, field in zip(cells, schema, strict=False)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _groups(rows: Iterable[Any]) -> Iterator[list[Any]]:
    waiting = iter(rows)
    while group := list(itertools.islice(waiting, GROUP_ROWS)):
        yield group
