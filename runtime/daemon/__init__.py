"""The daemon: sources in, messages out, for months."""
