"""Quantise the graphs of a bundle, and measure what the smaller ones cost."""
