import numpy as np
import pytest

from htsat_edge.runtime.dsp.stretch import stretch_matrix


@pytest.mark.parametrize("frames", [1, 2, 3, 11, 501, 1001, 1023, 1024])
def test_is_torchs_bicubic_resize(frames):
    torch = pytest.importorskip("torch")
    x = torch.randn(1, 1, frames, 8, generator=torch.Generator().manual_seed(0))
    wanted = torch.nn.functional.interpolate(x, (1024, 8), mode="bicubic", align_corners=True)
    np.testing.assert_allclose(stretch_matrix(frames, 1024) @ x[0, 0].numpy(), wanted[0, 0].numpy(), atol=1e-3)


def test_corners_are_aligned():
    np.testing.assert_allclose(stretch_matrix(5, 2), [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], atol=1e-7)
    np.testing.assert_allclose(stretch_matrix(5, 1), [[1, 0, 0, 0, 0]], atol=1e-7)


@pytest.mark.parametrize("frames", [1, 7, 1001])
def test_rows_sum_to_one(frames):
    np.testing.assert_allclose(stretch_matrix(frames, 1024).sum(axis=1), 1, atol=1e-6)
