"""Models on a server that speaks KServe v2, such as Triton with what export/to_triton.py writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from htsat_edge.runtime.common.arrays import FloatArray
from htsat_edge.runtime.common.errors import HtsatEdgeError, ServerError
from htsat_edge.runtime.models.backends.backend import (
    FRAME_EMBEDDING,
    Scores,
    check_shapes,
    check_types,
    check_windows,
    join,
    outputs_of,
)
from htsat_edge.runtime.models.backends.kserve import RemoteServer, open_client, reading
from htsat_edge.runtime.models.bundle import Bundle, ModelInfo

TYPES = {"FP32": "float32", "FP16": "float16"}
"""KServe's names."""
BUNDLE_PARAMETER, PRECISION_PARAMETER = "bundle_sha256", "precision"
"""Of a model's configuration on Triton: the hash of the fp32.onnx of the bundle that it was made of; which of the
bundle's graphs or engines runs there."""
LOOK_S = 5.0
"""For an answer about the model, before it has scored anything."""
PATIENCE_S = 30.0
"""For an answer, at least, where nobody else can score the window."""
ROUNDING = 0.01
"""How far below 0 or above 1 a score may be, of a server that computes in few bits."""
MOST_AT_ONCE = 8
"""Windows in a request to a server that has no limit of its own; the daemon gives no more."""


class RemoteBackend:
    """A model on a server. Use it in the thread that has made it."""

    def __init__(self, server: RemoteServer, info: ModelInfo, sha256: str, frame_embedding: bool = True) -> None:
        """Connect, and look whether the model there is that of a bundle.

        Parameters
        ----------
        server
            Where it is.
        info
            What the bundle says of it.
        sha256
            Hash of the bundle's fp32.onnx; compared where the server has one.
        frame_embedding
            Whether this output is asked for, which is more than half of an answer; only enrolled sounds need it.

        Raises
        ------
        ServerNotReadyError
            The server is gone, or not ready.
        HtsatEdgeError
            It refuses this device, or has no such model, or another one; or tritonclient is not installed.
        """
        self._model = server.model or info.name
        self.name, self.timeout_s = f"{server.url}, model {self._model}", server.timeout_s
        self._url, self._info, self._window = server.url, info, (info.frames, info.front_end.n_mels)
        self._client = open_client(server)
        try:
            tensors = self._look(sha256)
        except BaseException:
            self._client.close()
            raise
        self._outputs = [name for name in outputs_of(tensors) if frame_embedding or name != FRAME_EMBEDDING]
        self._kind = str(tensors["log_mel"]["datatype"])

    def infer(self, log_mel: FloatArray) -> Scores:
        """Score windows, log_mel (B, T, F) in dB.

        Raise a ServerError where the answer is a wrong one, and a ServerNotReadyError where none comes in `timeout_s`.
        """
        check_windows(log_mel, self._window)
        parts = [self._run(log_mel[i : i + self._at_once]) for i in range(0, max(len(log_mel), 1), self._at_once)]
        return parts[0] if len(parts) == 1 else join(parts)

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def _look(self, sha256: str) -> dict[str, Mapping[str, Any]]:
        """Return the tensors of the model by name; raise an HtsatEdgeError where it is not that of the bundle."""
        about = self._client.metadata(self._model, LOOK_S)
        with reading(self._url):
            tensors = {str(one["name"]): one for one in [*about["inputs"], *about["outputs"]]}
            shapes = {name: [int(length) for length in one["shape"]] for name, one in tensors.items()}
            types = {name: TYPES.get(one["datatype"], one["datatype"]) for name, one in tensors.items()}
        config = self._client.config(self._model, LOOK_S)
        with reading(self._url):
            most = int(config.get("max_batch_size") or 0)
            texts = {name: one.get("string_value") for name, one in (config.get("parameters") or {}).items()}
            parameters = {name: str(text) for name, text in texts.items() if text}
        check_shapes(self.name, {name: shape[1:] for name, shape in shapes.items()}, self._info)
        check_types(self.name, types)
        there = parameters.get(BUNDLE_PARAMETER, sha256)
        if there != sha256:
            raise HtsatEdgeError(
                f"{self.name}: was made of another bundle (fp32.onnx {there[:12]} there, {sha256[:12]} here): "
                "export this one (export/to_triton.py), or take that one here"
            )
        self.precision = parameters.get(PRECISION_PARAMETER)
        """Of the graph, or the engines, that run there; None where the server does not say."""
        self._at_once = shapes["log_mel"][0]
        if self._at_once < 1:
            self._at_once = min(most, MOST_AT_ONCE) if most > 0 else MOST_AT_ONCE
        elif self._at_once > 1:
            raise HtsatEdgeError(f"{self.name}: takes {self._at_once} windows, never fewer; want any number")
        return tensors

    def _run(self, log_mel: FloatArray) -> Scores:
        batch = np.ascontiguousarray(log_mel, TYPES[self._kind])
        found = self._client.infer(self._model, "log_mel", batch, self._kind, self._outputs, self.timeout_s)
        if found.keys() != {*self._outputs} or any(x.shape[:1] != batch.shape[:1] for x in found.values()):
            raise ServerError(f"{self.name}: has answered for other windows than it was given")
        try:
            check_shapes(self.name, {"log_mel": self._window, **{k: x.shape[1:] for k, x in found.items()}}, self._info)
        except HtsatEdgeError as error:
            raise ServerError(str(error)) from None
        if not all(np.isfinite(x).all() for x in found.values()):
            raise ServerError(f"{self.name}: gives scores that are no numbers")
        framewise = found["framewise"]
        if (np.abs(framewise - 0.5) > 0.5 + ROUNDING).any():
            raise ServerError(f"{self.name}: gives scores that are not from 0 to 1; are they logits?")
        np.clip(framewise, 0, 1, out=framewise)
        return Scores(**found)


def open_remote(bundle: Bundle, server: RemoteServer | None, frame_embedding: bool = True) -> RemoteBackend:
    """Have a server run a bundle's model, without this device at its side; see RemoteBackend."""
    if server is None:
        raise HtsatEdgeError("backend: remote needs a server: model.remote in a configuration (--config FILE)")
    patient = replace(server, timeout_s=max(server.timeout_s, PATIENCE_S))
    return RemoteBackend(patient, bundle.info, bundle.sha256("fp32"), frame_embedding)
