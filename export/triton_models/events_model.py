"""A model of Triton's Python backend: samples of streams in, events out.

It needs this package in the server's Python. The windows are scored by another model of the same server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from htsat_edge.export.triton_models.streams import ServedStreams, StreamBlock
from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import load_bundle

MICROSECONDS = 1e6


class EventsModel:
    """What the server calls, from one thread."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Begin, with the configuration and the folder of the model."""
        config = json.loads(args["model_config"])
        parameters = {name: one["string_value"] for name, one in config["parameters"].items()}
        self._model, self._type = parameters["scored_by"], np.dtype(parameters["log_mel"])
        self._at_once = int(parameters["at_once"])
        idle_s = int(config["sequence_batching"]["max_sequence_idle_microseconds"]) / MICROSECONDS
        info = load_bundle(Path(args["model_repository"]) / args["model_version"]).info
        self._streams = ServedStreams(info, self._score, idle_s)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Take the next blocks of some streams; answer each."""
        return [_response(answer) for answer in self._streams.hear([_block(request) for request in requests])]

    def _score(self, log_mel: FloatArray) -> FloatArray:
        parts = [self._ask(log_mel[i : i + self._at_once]) for i in range(0, len(log_mel), self._at_once)]
        return np.concatenate(parts)

    def _ask(self, log_mel: FloatArray) -> FloatArray:
        """Have the other model score windows."""
        request = triton.InferenceRequest(
            model_name=self._model,
            requested_output_names=["framewise"],
            inputs=[triton.Tensor("log_mel", log_mel.astype(self._type))],
            preferred_memory=triton.PreferredMemory(triton.TRITONSERVER_MEMORY_CPU),
        )
        try:
            response = request.exec()
            if response.has_error():
                raise HtsatEdgeError(f"{self._model}: {response.error().message()}")
            scores = triton.get_output_tensor_by_name(response, "framewise").as_numpy()
        except triton.TritonModelException as error:
            raise HtsatEdgeError(f"{self._model}: {error}") from None
        return np.asarray(scores, np.float32)


def _block(request: Any) -> StreamBlock:
    samples, rate = (
        triton.get_input_tensor_by_name(request, name).as_numpy()[0] for name in ("samples", "sample_rate")
    )
    flags = request.flags()
    return StreamBlock(
        stream=request.correlation_id(),
        samples=samples,
        rate=int(rate[0]),
        start=bool(flags & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START),
        end=bool(flags & triton.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
    )


def _response(answer: str | HtsatEdgeError) -> Any:
    if isinstance(answer, HtsatEdgeError):
        return triton.InferenceResponse(error=triton.TritonError(str(answer), triton.TritonError.INVALID_ARG))
    return triton.InferenceResponse([triton.Tensor("events", np.array([[answer.encode()]], np.object_))])
