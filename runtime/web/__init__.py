"""The page, and its API (extra `web`): it reads the store, writes verdicts, and shows what the daemon hears."""
