"""Thresholds from what a source was heard to do: events a day at each, and what people have said of them."""
