"""A model repository for Triton: the graph as a model, and a model that turns samples into events on the server."""
