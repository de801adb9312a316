"""The store: what was heard, in one SQLite database. The daemon writes it; pages and exports read it."""
