"""Workers that take a share of a GPU each, which Ray only counts here."""

import pytest

from htsat_edge.runtime.archive.cluster.nodes import check_nodes, connected
from htsat_edge.runtime.common.errors import HtsatEdgeError

pytest.importorskip("ray.data")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of Ray's own, in its threads


@pytest.fixture(scope="module")
def cluster(start_cluster):
    return start_cluster(1, gpus=1)


def test_workers_that_share_a_gpu_find_what_one_machine_finds(
    sounds, begin, settings, heard_here, cluster, hear, tmp_path
):
    archive = sounds(2, long_s=12)
    with connected(cluster.address):
        assert check_nodes([archive], 0.5) == 2
    with begin(tmp_path / "ray", archive) as journal:
        assert hear(journal, settings, cluster, gpus=0.5) == heard_here(archive)


def test_a_cluster_without_a_gpu_is_refused(start_cluster):
    with connected(start_cluster(1).address), pytest.raises(HtsatEdgeError, match=r"^--ray: the cluster has no GPU"):
        check_nodes([], 0.5)
