"""Evaluate models: labelled recordings, data sets, metrics, comparisons of graphs, and reports."""
