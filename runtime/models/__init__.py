"""Models: bundles on disk, TensorRT engines and their manifests, and the backends that run them."""
