"""Signal processing: audio files, log-mels, windows, one timeline of scores, and events from it."""
