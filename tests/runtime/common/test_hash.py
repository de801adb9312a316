"""The hash of files, read in pieces."""

import hashlib

from htsat_edge.runtime.common.files import sha256_of


def test_the_hash_is_that_of_the_whole_content(tmp_path):
    """Also of what is longer than a piece of it."""
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(b"more")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert sha256_of(tmp_path / "a", tmp_path / "b") == hashlib.sha256(content + b"more").hexdigest()
