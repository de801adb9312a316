"""The parts of `htsat-edge bench`, which measures how fast a model runs on this machine."""
