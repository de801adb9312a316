"""The tasks that a bench times."""

import numpy as np
import pytest

from htsat_edge.runtime.commands.bench.plan import matrix_products
from htsat_edge.runtime.commands.bench.results import Candidate
from htsat_edge.runtime.commands.bench.worker import make_tasks, open_candidate
from htsat_edge.runtime.models.backends.ort import OrtBackend
from htsat_edge.runtime.models.bundle import load_bundle


class CountingBackend(OrtBackend):
    """A backend that notes how many windows it scores at once."""

    def __init__(self, bundle):
        super().__init__(bundle.graph("fp32"), bundle.info, threads=1)
        self.batches = []

    def infer(self, log_mel):
        self.batches.append(len(log_mel))
        return super().infer(log_mel)


@pytest.mark.parametrize("hop_s", [None, 0.08, 2.56])
def test_every_task_runs_the_model_once(bundle, hop_s):
    opened = load_bundle(bundle)
    backend = CountingBackend(opened)
    tasks = make_tasks(backend, opened.info, Candidate(name="fp32", kind="bundle", batch=3, hop_s=hop_s))
    assert tasks.runs_on == "onnxruntime"
    wanted = {"model": [1], "audio": [1], "hop": [1], "batch": [3]}
    assert tasks.by_name.keys() == wanted.keys()
    for name, batches in wanted.items():
        for _ in range(5):
            backend.batches.clear()
            tasks.by_name[name]()
            assert backend.batches == batches, name


def test_a_single_source_has_no_batch(bundle):
    candidate = Candidate(name="fp32", kind="bundle", path=str(bundle), precision="fp32")
    tasks = open_candidate(candidate)()
    assert list(tasks.by_name) == ["model", "audio", "hop"]


def test_a_matrix_product_has_one_task():
    for candidate in matrix_products([1]):
        tasks = open_candidate(candidate)()
        assert list(tasks.by_name) == ["model"]
        (product,) = tasks.by_name["model"]()
        assert product.shape == (1024, 1024)
        assert np.isfinite(product).all()
