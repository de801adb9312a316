"""Define HTS-AT in torch, load its checkpoints, and train the bundled model."""
