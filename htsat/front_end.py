"""The log-mel front end in torch, for training and for checks; the device runs runtime/dsp/log_mel.py."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from htsat_edge.runtime.dsp.log_mel import FLOOR_POWER, FrontEnd, hann, mel_filters


class TorchLogMel(nn.Module):
    """Waveforms (B, S) in [-1, 1] -> log-mel (B, T, F) in dB, T = S // hop + 1 (HTS-AT, section 3.1)."""

    window: Tensor
    filters: Tensor

    def __init__(self, front_end: FrontEnd) -> None:
        super().__init__()
        self.front_end = front_end
        self.register_buffer("window", torch.from_numpy(hann(front_end.n_fft)), persistent=False)
        self.register_buffer("filters", torch.from_numpy(mel_filters(front_end)), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        n_fft, hop = self.front_end.n_fft, self.front_end.hop
        spectrum = torch.stft(waveform, n_fft, hop, window=self.window, pad_mode="reflect", return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return 10 * torch.log10((power.transpose(1, 2) @ self.filters).clamp_min(FLOOR_POWER))
