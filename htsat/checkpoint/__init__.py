"""Load checkpoints: every form in which people have HTS-AT's weights, strict about the network, safe on any file.

A checkpoint is a file of torch (zip, older stream or bare pickle) or safetensors, or a folder of transformers. The
network may stand at any prefix in any dictionary. Buffers that follow from the network's sizes are optional; `head` is
in every checkpoint of the authors and unused.
"""

from htsat_edge.htsat.checkpoint.files import weight_files
from htsat_edge.htsat.checkpoint.loading import Loaded, load_checkpoint, load_network

__all__ = ["Loaded", "load_checkpoint", "load_network", "weight_files"]
