"""Cyclic redundancy checks, most significant bit first, as FLAC and Ogg have them."""

from __future__ import annotations


class Crc:
    """A check of so many bits, 8 or more, that begins with 0."""

    def __init__(self, polynomial: int, bits: int) -> None:
        """Prepare a table for a polynomial, without its highest term."""
        self._mask, self._shift = (1 << bits) - 1, bits - 8
        self._table = [self._row(polynomial, bits, byte) for byte in range(256)]

    def __call__(self, content: bytes | bytearray) -> int:
        """Return the check of bytes."""
        value = 0
        for byte in content:
            value = (value << 8 & self._mask) ^ self._table[value >> self._shift ^ byte]
        return value

    def _row(self, polynomial: int, bits: int, byte: int) -> int:
        value = byte << self._shift
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> bits - 1 else 0)) & self._mask
        return value
