"""The tables of the store as SQL, by the version in which they came."""

from __future__ import annotations

FIRST = (
    """
    CREATE TABLE sessions (             -- from a start of the daemon, or a reload, to its end
        id INTEGER PRIMARY KEY,
        uid TEXT NOT NULL UNIQUE,
        started_at REAL NOT NULL        -- seconds since 1970
    )
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions (id),
        source TEXT NOT NULL,
        number INTEGER NOT NULL,        -- the messages' id: counts the events of a source in a session
        label TEXT NOT NULL,
        onset REAL NOT NULL,            -- seconds since the source began
        offset REAL,                    -- the same; NULL while the event goes on, or where its end was not heard
        time TEXT,                      -- of the onset, ISO 8601; NULL where unknown
        score REAL NOT NULL,            -- peak so far
        stored_at REAL NOT NULL,        -- seconds since 1970
        UNIQUE (session, source, number)
    )
    """,
    "CREATE INDEX events_by_stored_at ON events (stored_at)",
    "CREATE INDEX events_by_label ON events (label, stored_at)",
    """
    CREATE TABLE gaps (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions (id),
        number INTEGER NOT NULL,        -- of the message in its session
        source TEXT NOT NULL,
        onset REAL NOT NULL,
        offset REAL NOT NULL,
        time TEXT,
        reason TEXT NOT NULL,
        stored_at REAL NOT NULL,
        UNIQUE (session, number)
    )
    """,
    "CREATE INDEX gaps_by_stored_at ON gaps (stored_at)",
    """
    CREATE TABLE statuses (
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions (id),
        number INTEGER NOT NULL,        -- of the message in its session
        source TEXT,                    -- NULL for the daemon's own
        state TEXT NOT NULL,
        time TEXT,
        message TEXT NOT NULL,          -- all of it, as JSON
        stored_at REAL NOT NULL,
        UNIQUE (session, number)
    )
    """,
    "CREATE INDEX statuses_by_stored_at ON statuses (stored_at)",
)
TIME_AT = (
    "CASE WHEN time GLOB '????-??-??T*' AND time >= '2025' THEN round((julianday(time) - 2440587.5) * 86400.0, 3) END"
)
"""`time` in seconds since 1970; NULL where it is unknown, or of a clock that was never set (clock.CLOCK_SET).

The pattern also keeps words from `julianday` that it takes for the present, which no index may depend on.
"""
AT = f"at REAL GENERATED ALWAYS AS (coalesce({TIME_AT}, stored_at)) VIRTUAL"
"""When something began, in seconds since 1970, as well as it is known. It follows when `time` or `stored_at` moves."""
SECOND = (
    *(f"ALTER TABLE {table} ADD COLUMN {AT}" for table in ("events", "gaps", "statuses")),
    "DROP INDEX events_by_label",
    "CREATE INDEX events_by_at ON events (at)",
    "CREATE INDEX events_by_label ON events (label, at)",
    "CREATE INDEX events_by_source ON events (source, at)",
    "CREATE INDEX gaps_by_source ON gaps (source, at)",
    "CREATE INDEX statuses_by_at ON statuses (at)",
    "CREATE INDEX statuses_by_state ON statuses (state, at)",
    """
    CREATE TABLE setups (               -- each once: one of all classes has 35 kB
        id INTEGER PRIMARY KEY,
        setup TEXT NOT NULL UNIQUE      -- setup.Setup, as JSON
    )
    """,
    """
    CREATE TABLE in_force (
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        source TEXT NOT NULL,
        setup INTEGER NOT NULL REFERENCES setups (id),
        PRIMARY KEY (session, source)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX in_force_by_source ON in_force (source)",
    "CREATE INDEX in_force_by_setup ON in_force (setup)",
    f"""
    CREATE TABLE scores (               -- of a minute at most, final
        id INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions (id),
        source TEXT NOT NULL,
        onset REAL NOT NULL,
        offset REAL NOT NULL,
        time TEXT,
        steps INTEGER NOT NULL,
        size INTEGER NOT NULL,          -- bytes on the disk, with those of indexes, to be summed without the codes
        codes BLOB NOT NULL,            -- score_codes.encode
        stored_at REAL NOT NULL,
        at REAL GENERATED ALWAYS AS (coalesce({TIME_AT}, stored_at - (offset - onset))) VIRTUAL,
        UNIQUE (session, source, onset)
    )
    """,
    "CREATE INDEX scores_by_source ON scores (source, at)",
    "CREATE INDEX scores_by_stored_at ON scores (stored_at, size)",
    f"""
    CREATE TABLE left_out (             -- events that a rule did not let through
        session INTEGER NOT NULL REFERENCES sessions (id),
        source TEXT NOT NULL,
        number INTEGER NOT NULL,        -- the event's id
        label TEXT NOT NULL,
        onset REAL NOT NULL,
        offset REAL,                    -- NULL while the event goes on, or where its end was not heard
        time TEXT,
        score REAL NOT NULL,            -- at the start
        rule TEXT NOT NULL,
        stored_at REAL NOT NULL,
        {AT},
        UNIQUE (session, source, number)
    )
    """,
    "CREATE INDEX left_out_by_source ON left_out (source, at)",
    "CREATE INDEX left_out_by_stored_at ON left_out (stored_at)",
    f"""
    CREATE TABLE clips (                -- recordings of events that are on the disk
        session INTEGER NOT NULL REFERENCES sessions (id),
        source TEXT NOT NULL,
        number INTEGER NOT NULL,        -- the event's id
        name TEXT NOT NULL UNIQUE,      -- of the file
        onset REAL NOT NULL,            -- of the first sample
        offset REAL NOT NULL,
        time TEXT,
        stored_at REAL NOT NULL,
        {AT},
        UNIQUE (session, source, number)
    )
    """,
    "CREATE INDEX clips_by_stored_at ON clips (stored_at)",
    """
    CREATE TABLE verdicts (             -- what people say of events
        event INTEGER PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
        decision TEXT,                  -- correct, wrong, or NULL
        label TEXT,                     -- what it really is
        note TEXT NOT NULL,
        locked INTEGER NOT NULL,        -- 1: the event and its clip are kept, whatever their age
        decided_at REAL NOT NULL        -- seconds since 1970
    )
    """,
)

THIRD = (
    """
    CREATE TABLE in_force_from (        -- thresholds may change within a session
        session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
        source TEXT NOT NULL,
        onset REAL NOT NULL DEFAULT 0,  -- seconds since the source began
        setup INTEGER NOT NULL REFERENCES setups (id),
        PRIMARY KEY (session, source, onset)
    ) WITHOUT ROWID
    """,
    "INSERT INTO in_force_from (session, source, setup) SELECT session, source, setup FROM in_force",
    "DROP TABLE in_force",
    "ALTER TABLE in_force_from RENAME TO in_force",
    "CREATE INDEX in_force_by_source ON in_force (source)",
    "CREATE INDEX in_force_by_setup ON in_force (setup)",
)

FOURTH = (
    "ALTER TABLE sessions ADD COLUMN device TEXT",  # topic of a fleet's device; NULL in a device's own store
    "ALTER TABLE sessions ADD COLUMN first_number INTEGER",  # of a fleet's numbered messages, since it is counted
    "ALTER TABLE sessions ADD COLUMN last_number INTEGER",  # the highest of them
    "ALTER TABLE sessions ADD COLUMN missing TEXT",  # numbers below it that have not come, as JSON (numbers.py)
    "CREATE INDEX sessions_by_device ON sessions (device)",
    """
    CREATE TABLE devices (              -- of a fleet
        device TEXT PRIMARY KEY,        -- its topic
        first_at REAL NOT NULL,         -- since when it is known, seconds since 1970
        place TEXT,                     -- where it is, as it says itself
        info TEXT,                      -- what it is, as JSON (DeviceProfile)
        info_at REAL,                   -- when it has said so, seconds since 1970
        health TEXT,                    -- how it gets on, as JSON (DeviceStatus)
        health_at REAL,
        online INTEGER,                 -- 1, 0, or NULL where the broker has not said
        online_at REAL,                 -- since when
        last_at REAL,                   -- when the last message of it was stored
        lost INTEGER NOT NULL DEFAULT 0 -- messages that never came
    ) WITHOUT ROWID
    """,
    f"""
    CREATE TABLE clips_of_devices (     -- two devices may have clips of one name
        session INTEGER NOT NULL REFERENCES sessions (id),
        source TEXT NOT NULL,
        number INTEGER NOT NULL,        -- the event's id
        name TEXT NOT NULL,             -- of the file
        onset REAL NOT NULL,            -- of the first sample
        offset REAL NOT NULL,
        time TEXT,
        stored_at REAL NOT NULL,
        {AT},
        UNIQUE (session, source, number)
    )
    """,
    "INSERT INTO clips_of_devices (session, source, number, name, onset, offset, time, stored_at) "
    "SELECT session, source, number, name, onset, offset, time, stored_at FROM clips",
    "DROP TABLE clips",
    "ALTER TABLE clips_of_devices RENAME TO clips",
    "CREATE INDEX clips_by_name ON clips (name)",
    "CREATE INDEX clips_by_stored_at ON clips (stored_at)",
)
