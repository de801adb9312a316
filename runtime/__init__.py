"""The detector on the device: from samples to events. Imports nothing else of ours, and never torch."""
