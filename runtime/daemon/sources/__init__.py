"""The daemon's sources: each fills feeds from a thread or a callback of its own."""
