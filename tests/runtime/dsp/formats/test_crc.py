import pytest

from htsat_edge.runtime.dsp.formats.crc import Crc


@pytest.mark.parametrize(
    ("polynomial", "bits", "check"), [(0x07, 8, 0xF4), (0x8005, 16, 0xFEE8), (0x04C1_1DB7, 32, 0x89A1_897F)]
)
def test_the_check_of_the_usual_nine_digits(polynomial, bits, check):
    assert Crc(polynomial, bits)(b"123456789") == check
