"""Hear recordings on the machines of a Ray cluster."""
