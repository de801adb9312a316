"""The daemon's outputs: each sends messages from a thread and a bounded queue of its own."""
