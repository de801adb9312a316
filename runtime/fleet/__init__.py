"""A fleet: the messages of many devices, joined into one store."""
