import numpy as np
import pytest
import torch

from htsat_edge.htsat.front_end import TorchLogMel
from htsat_edge.runtime.dsp.log_mel import FrontEnd, LogMel


@pytest.mark.parametrize("clip", ["clip10", "clip1", "clip10_quiet"])
def test_log_mel_is_the_references(clip, waveforms, goldens):
    log_mel = TorchLogMel(FrontEnd())(torch.from_numpy(waveforms[clip])[None])
    np.testing.assert_allclose(log_mel[0].numpy(), goldens[f"{clip}/log_mel"], atol=2e-3)


def test_torch_and_numpy_agree_at_16_khz():
    front_end = FrontEnd(sample_rate=16_000, hop=160)
    x = np.random.default_rng(0).normal(0, 0.1, (2, 16_000)).astype(np.float32)
    found = TorchLogMel(front_end)(torch.from_numpy(x)).numpy()
    assert (found[..., -9:] == -100).all()  # the filters above half the sample rate are empty
    for row, waveform in zip(found, x, strict=True):
        np.testing.assert_allclose(row, LogMel(front_end)(waveform), atol=1e-3)
