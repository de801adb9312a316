"""The engines of a bundle that Triton can run: one for each kind of GPU."""

from __future__ import annotations

from dataclasses import dataclass

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import Bundle
from htsat_edge.runtime.models.engines import EngineManifest, how_to_build, read_manifests


@dataclass(frozen=True)
class ServedEngine:
    """An engine as a server has it."""

    capability: str
    """The compute capability that it was built for, such as 8.7."""
    manifest: EngineManifest

    @property
    def file(self) -> str:
        """Its name in the repository."""
        return f"model-{self.capability}.plan"


def choose_plans(bundle: Bundle, precision: str | None) -> tuple[ServedEngine, ...]:
    """Return the fastest engine that passed validation for each compute capability.

    A server has one version of TensorRT: all are of that of the newest engine. Raise an HtsatEdgeError where there is
    none.
    """
    known = [
        one for one in read_manifests(bundle) if _is_usable(bundle, one) and precision in (None, one.recipe.precision)
    ]
    if not known:
        raise HtsatEdgeError(
            f"{bundle.path}: has no {precision + ' ' if precision else ''}engine of TensorRT that passed validation; "
            f"{how_to_build(bundle, precision)} on the machine of the server"
        )
    release = known[0].recipe.tensorrt
    best: dict[str, EngineManifest] = {}
    for one in sorted((one for one in known if one.recipe.tensorrt == release), key=_milliseconds):
        assert one.recipe.gpu is not None
        best.setdefault(one.recipe.gpu.compute_capability, one)
    return tuple(ServedEngine(capability, one) for capability, one in sorted(best.items()))


def _is_usable(bundle: Bundle, manifest: EngineManifest) -> bool:
    """Return whether Triton can run an engine, it takes one window or more, and it has passed validation."""
    recipe = manifest.recipe
    is_plan = recipe.flavour == "tensorrt" and recipe.gpu is not None and recipe.batch[0] == 1
    is_valid = manifest.rejection is None and manifest.validated_on is not None and manifest.latency is not None
    return (
        is_plan
        and is_valid
        and recipe.graph in bundle.precisions()
        and bundle.sha256(recipe.graph) == recipe.graph_sha256
    )


def _milliseconds(manifest: EngineManifest) -> float:
    assert manifest.latency is not None
    return manifest.latency.p50_ms / manifest.latency.batch
