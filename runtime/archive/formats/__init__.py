"""Events in the forms that other programs read: tables of all recordings, or a file beside each.

Every format is written from the same rows (rows.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from htsat_edge.runtime.archive.formats.labels import require_praatio, write_audacity, write_raven, write_textgrid
from htsat_edge.runtime.archive.formats.parquet import require_pyarrow, write_parquet, write_parquet_files
from htsat_edge.runtime.archive.formats.rows import (
    FileEvents,
    Format,
    TableEvent,
    TableFile,
    file_row,
    moment_at,
    rows_of,
    shown_path,
    time_at,
)
from htsat_edge.runtime.archive.formats.tables import (
    write_csv,
    write_csv_files,
    write_desed,
    write_jsonl,
    write_jsonl_files,
    write_kaleidoscope,
)

FORMATS: Mapping[str, Format] = {
    "csv": Format("a row an event, with commas", "events.csv", write_csv, write_csv_files, "files.csv", joins=True),
    "parquet": Format(
        "the same columns, for pandas, DuckDB, Spark",
        "events.parquet",
        write_parquet,
        write_parquet_files,
        "files.parquet",
        joins=True,
        is_text=False,
        require=require_pyarrow,
    ),
    "jsonl": Format(
        "the same, an object a line", "events.jsonl", write_jsonl, write_jsonl_files, "files.jsonl", joins=True
    ),
    "raven": Format(
        "selection table of Raven", ".Table.1.selections.txt", write_raven, each=True, all_name="raven.txt"
    ),
    "audacity": Format("label track of Audacity", ".txt", write_audacity, each=True),
    "kaleidoscope": Format("CSV of Kaleidoscope", "kaleidoscope.csv", write_kaleidoscope),
    "desed": Format("TSV of DESED and DCASE", "desed.tsv", write_desed),
    "textgrid": Format("TextGrid of Praat", ".TextGrid", write_textgrid, each=True, require=require_praatio),
}
"""By name."""

__all__ = [
    "FORMATS",
    "FileEvents",
    "Format",
    "TableEvent",
    "TableFile",
    "file_row",
    "moment_at",
    "rows_of",
    "shown_path",
    "time_at",
]
