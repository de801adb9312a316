"""The commands of `htsat-edge`, one file a command."""
