"""The tables of the store for PostgreSQL, as they are in SQLite at present (tables.py, which says what each column is).

Texts are ordered by their bytes, as in SQLite, whatever the language of the database.
"""

from __future__ import annotations

TEXT = 'TEXT COLLATE "C"'
ID = "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
SESSION = "session BIGINT NOT NULL REFERENCES sessions (id)"
TIME_AT = r"""
    CREATE FUNCTION htsat_edge_time(said TEXT) RETURNS DOUBLE PRECISION
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    DECLARE
        year INTEGER;
        month INTEGER;
        days BIGINT;
        seconds NUMERIC;
        zone TEXT := right(said, 6);
        east INTEGER := 0;
    BEGIN
        IF said < '2025' OR said !~ (
            '^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])'
            'T([01]\d|2[0-4]):[0-5]\d(:[0-5]\d(\.\d+)?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)?$'
        ) THEN
            RETURN NULL;
        END IF;
        -- Of a calendar whose years begin in March: five months of it have 153 days, and a leap day is the last.
        month := (substr(said, 6, 2)::INTEGER + 9) % 12;
        year := substr(said, 1, 4)::INTEGER - (month > 9)::INTEGER;
        days := 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 - 719469;
        days := days + substr(said, 9, 2)::INTEGER;
        IF zone LIKE '+__:__' OR zone LIKE '-__:__' THEN
            east := 3600 * substr(zone, 2, 2)::INTEGER + 60 * substr(zone, 5, 2)::INTEGER;
            IF zone LIKE '-%' THEN
                east := -east;
            END IF;
            said := left(said, -6);
        END IF;
        seconds := CASE WHEN substr(said, 17, 1) = ':' THEN rtrim(substr(said, 18), 'Z')::NUMERIC ELSE 0 END;
        RETURN 86400 * days + 3600 * substr(said, 12, 2)::INTEGER + 60 * substr(said, 15, 2)::INTEGER - east
            + round(seconds, 3);
    END
    $$
"""
"""A time of day in ISO 8601 as seconds since 1970, as `tables.TIME_AT` is for SQLite.

PostgreSQL's own conversion of texts to times raises errors, and no generated column may use it, since for some texts
it depends on the settings of who asks.
"""


def at_from(fallback: str = "stored_at") -> str:
    """Return the column `at`."""
    return f"at DOUBLE PRECISION NOT NULL GENERATED ALWAYS AS (coalesce(htsat_edge_time(time), {fallback})) STORED"


POSTGRES = (
    "CREATE TABLE htsat_edge (version INTEGER NOT NULL)",
    TIME_AT,
    f"""
    CREATE TABLE devices (
        device {TEXT} PRIMARY KEY, first_at DOUBLE PRECISION NOT NULL,
        place {TEXT}, info {TEXT}, info_at DOUBLE PRECISION,
        health {TEXT}, health_at DOUBLE PRECISION, online INTEGER, online_at DOUBLE PRECISION,
        last_at DOUBLE PRECISION, lost BIGINT NOT NULL DEFAULT 0
    )
    """,
    f"""
    CREATE TABLE sessions (
        id {ID}, uid {TEXT} NOT NULL UNIQUE, started_at DOUBLE PRECISION NOT NULL,
        device {TEXT}, first_number BIGINT, last_number BIGINT, missing {TEXT}
    )
    """,
    "CREATE INDEX sessions_by_device ON sessions (device)",
    f"""
    CREATE TABLE events (
        id {ID}, {SESSION}, source {TEXT} NOT NULL, number BIGINT NOT NULL, label {TEXT} NOT NULL,
        onset DOUBLE PRECISION NOT NULL, "offset" DOUBLE PRECISION, time {TEXT}, score DOUBLE PRECISION NOT NULL,
        stored_at DOUBLE PRECISION NOT NULL, {at_from()}, UNIQUE (session, source, number)
    )
    """,
    "CREATE INDEX events_by_stored_at ON events (stored_at)",
    "CREATE INDEX events_by_at ON events (at, id)",
    "CREATE INDEX events_by_label ON events (label, at)",
    "CREATE INDEX events_by_source ON events (source, at)",
    f"""
    CREATE TABLE gaps (
        id {ID}, {SESSION}, number BIGINT NOT NULL, source {TEXT} NOT NULL, onset DOUBLE PRECISION NOT NULL,
        "offset" DOUBLE PRECISION NOT NULL, time {TEXT}, reason {TEXT} NOT NULL,
        stored_at DOUBLE PRECISION NOT NULL, {at_from()}, UNIQUE (session, number)
    )
    """,
    "CREATE INDEX gaps_by_stored_at ON gaps (stored_at)",
    "CREATE INDEX gaps_by_source ON gaps (source, at)",
    f"""
    CREATE TABLE statuses (
        id {ID}, {SESSION}, number BIGINT NOT NULL, source {TEXT}, state {TEXT} NOT NULL, time {TEXT},
        message {TEXT} NOT NULL, stored_at DOUBLE PRECISION NOT NULL, {at_from()}, UNIQUE (session, number)
    )
    """,
    "CREATE INDEX statuses_by_stored_at ON statuses (stored_at)",
    "CREATE INDEX statuses_by_at ON statuses (at)",
    "CREATE INDEX statuses_by_state ON statuses (state, at)",
    f"CREATE TABLE setups (id {ID}, setup {TEXT} NOT NULL, EXCLUDE USING hash (setup WITH =))",  # long for an index
    f"""
    CREATE TABLE in_force (
        {SESSION} ON DELETE CASCADE, source {TEXT} NOT NULL, onset DOUBLE PRECISION NOT NULL DEFAULT 0,
        setup BIGINT NOT NULL REFERENCES setups (id), PRIMARY KEY (session, source, onset)
    )
    """,
    "CREATE INDEX in_force_by_source ON in_force (source)",
    "CREATE INDEX in_force_by_setup ON in_force (setup)",
    f"""
    CREATE TABLE scores (
        id {ID}, {SESSION}, source {TEXT} NOT NULL, onset DOUBLE PRECISION NOT NULL,
        "offset" DOUBLE PRECISION NOT NULL, time {TEXT}, steps INTEGER NOT NULL, size INTEGER NOT NULL,
        codes BYTEA NOT NULL, stored_at DOUBLE PRECISION NOT NULL,
        {at_from('stored_at - ("offset" - onset)')}, UNIQUE (session, source, onset)
    )
    """,
    "CREATE INDEX scores_by_source ON scores (source, at)",
    "CREATE INDEX scores_by_stored_at ON scores (stored_at, size)",
    f"""
    CREATE TABLE left_out (
        {SESSION}, source {TEXT} NOT NULL, number BIGINT NOT NULL, label {TEXT} NOT NULL,
        onset DOUBLE PRECISION NOT NULL, "offset" DOUBLE PRECISION, time {TEXT}, score DOUBLE PRECISION NOT NULL,
        rule {TEXT} NOT NULL, stored_at DOUBLE PRECISION NOT NULL, {at_from()}, UNIQUE (session, source, number)
    )
    """,
    "CREATE INDEX left_out_by_source ON left_out (source, at)",
    "CREATE INDEX left_out_by_stored_at ON left_out (stored_at)",
    f"""
    CREATE TABLE clips (
        {SESSION}, source {TEXT} NOT NULL, number BIGINT NOT NULL, name {TEXT} NOT NULL,
        onset DOUBLE PRECISION NOT NULL, "offset" DOUBLE PRECISION NOT NULL, time {TEXT},
        stored_at DOUBLE PRECISION NOT NULL, {at_from()}, UNIQUE (session, source, number)
    )
    """,
    "CREATE INDEX clips_by_name ON clips (name)",
    "CREATE INDEX clips_by_stored_at ON clips (stored_at)",
    f"""
    CREATE TABLE verdicts (
        event BIGINT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE, decision {TEXT}, label {TEXT},
        note {TEXT} NOT NULL, locked INTEGER NOT NULL, decided_at DOUBLE PRECISION NOT NULL
    )
    """,
)
