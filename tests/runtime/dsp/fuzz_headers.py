"""Read recordings whose first bytes are changed at random: python fuzz_headers.py SEED COUNT FILE …

Each must be read, or refused in one line. What kills this process (a crash of libsndfile, 5 s of processor time for one
file) or ends in a traceback is for the test that runs it to see; the last line names the change.
"""

import random
import re
import signal
import sys
import tempfile
from pathlib import Path

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.audio import AudioFile

HEAD = 160
"""Bytes from the beginning that change."""
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\1")
LONGEST_S = 5


def mutate(content, rng):
    """Change, drop, insert or repeat a few bytes; now and then cut the file."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, width = rng.randrange(min(HEAD, len(content))), rng.choice((1, 1, 2, 4, 8))
        match rng.randrange(6):
            case 0 | 1:
                content[at : at + width] = rng.randbytes(width)
            case 2:
                content[at : at + width] = rng.choice(EXTREMES) * width
            case 3:
                del content[at : at + width]
            case 4:
                content[at:at] = content[at : at + 8 * width]
            case 5:
                content[at] ^= 1 << rng.randrange(8)
    return bytes(content[: rng.randrange(len(content))] if rng.random() < 0.1 else content)


def main(seed, count, *files):
    """Read COUNT changed files; print how many were read, how many refused, and the most memory in MB."""
    rng, read, refused = random.Random(int(seed)), 0, 0
    originals = [Path(name).read_bytes() for name in files]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        for number in range(int(count)):
            path.write_bytes(mutate(originals[number % len(originals)], rng))
            print("reading", number, flush=True)
            signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
            try:
                for block in AudioFile(path).blocks(48_000):
                    assert block.ndim == 1
                read += 1
            except HtsatEdgeError as error:
                if len(str(error).splitlines()) != 1:
                    raise
                refused += 1
    # ru_maxrss would count the pages of the pytest process that this one was forked from.
    peak_kb = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]
    print(read, refused, int(peak_kb) // 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
