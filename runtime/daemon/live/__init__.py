"""What a daemon hears at present, for programs on the same device: one JSON object a line, over a Unix socket."""
