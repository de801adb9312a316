"""HTS-AT in torch: the network, its checkpoints, and the training of the bundled model."""
