import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "fuzz_headers.py"


def test_no_header_crashes_hangs_or_eats_memory(noise, tmp_path, write):
    """2 000 files, in a process of their own; without ffmpeg, whose parsers are not ours."""
    files = [
        write(tmp_path / f"x.{extension}", noise[:16_000], rate)
        for extension, rate in [
            ("wav", 8000),
            ("float.wav", 8000),
            ("flac", 8000),
            ("ogg", 8000),
            ("opus", 16_000),
            ("mp3", 16_000),
        ]
    ]
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", SCRIPT, "15", "2000", *files],
        env={**os.environ, "PATH": ""},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-200:], done.stderr[-4000:])
    assert "Traceback" not in done.stderr
    read, refused, memory_mb = map(int, done.stdout.splitlines()[-1].split())
    assert read > 200
    assert refused > 200
    assert memory_mb < 500
