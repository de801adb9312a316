"""A model of Triton's Python backend: a graph on onnxruntime, for servers that have no backend for graphs.

It needs this package in the server's Python.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.backends import open_backend
from htsat_edge.runtime.models.bundle import load_bundle


class GraphModel:
    """What the server calls, from one thread."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the graph of the version's folder, which is a bundle."""
        config = json.loads(args["model_config"])
        precision = config["parameters"]["precision"]["string_value"]
        self._wanted = [output["name"] for output in config["output"]]
        bundle = load_bundle(Path(args["model_repository"]) / args["model_version"])
        self._backend = open_backend(bundle, precision, "onnxruntime")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Score the windows of requests, all at once; answer each."""
        windows = [triton.get_input_tensor_by_name(request, "log_mel").as_numpy() for request in requests]
        try:
            found = self._backend.infer(np.concatenate(windows)).outputs()
        except HtsatEdgeError as error:
            return [triton.InferenceResponse(error=triton.TritonError(str(error)))] * len(requests)
        ends = np.cumsum([len(one) for one in windows])[:-1]
        split = {name: np.split(found[name], ends) for name in self._wanted}
        return [
            triton.InferenceResponse(
                [
                    triton.Tensor(name, np.ascontiguousarray(split[name][number]))
                    for name in self._wanted
                    if name in request.requested_output_names()
                ]
            )
            for number, request in enumerate(requests)
        ]

    def finalize(self) -> None:
        """Release the graph."""
        self._backend.close()
