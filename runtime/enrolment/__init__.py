"""Enrolment: a sound of the user's own from a handful of recordings, kept on this device beside the model."""
