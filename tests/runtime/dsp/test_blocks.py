import dataclasses

import numpy as np
import pytest

from htsat_edge.runtime.dsp.blocks import AudioBlock


def test_a_block_knows_where_it_ends():
    assert AudioBlock(12.5, 48_000, np.zeros(24_000, np.float32)).end_s == 13.0
    assert AudioBlock(12.5, 48_000, np.zeros(0, np.float32)).end_s == 12.5


def test_a_block_is_not_changed():
    block = AudioBlock(0.0, 48_000, np.zeros(1, np.float32))
    with pytest.raises(dataclasses.FrozenInstanceError):
        block.start_s = 1.0
