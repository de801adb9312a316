"""What a file is called does not matter, and what it is, does."""

import gzip
import json
import pickle
import tracemalloc
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from htsat_edge.htsat.checkpoint import load_checkpoint, weight_files
from htsat_edge.htsat.checkpoint.files import opened
from htsat_edge.htsat.config import NetworkConfig

CONFIG = NetworkConfig(embed_dim=16, depths=(2, 2, 3, 2), heads=(2, 4, 4, 8), classes=10)


def test_by_content_and_not_by_name(tiny_weights, save, taken, tmp_path):
    save_file(tiny_weights, tmp_path / "x.ckpt")
    taken(tmp_path / "x.ckpt")
    taken(save(tiny_weights, "x.safetensors"))
    taken(save(tiny_weights, "x", _use_new_zipfile_serialization=False))


def test_a_safetensors_file_may_begin_like_a_pickle(tiny_weights, tmp_path, taken):
    """Its first bytes are the length of its header: one in 32 begins with 0x80."""
    path = tmp_path / "x.safetensors"
    for padding in range(300):
        save_file(tiny_weights, path, metadata={"note": "x" * padding})
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    taken(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_of_tensors_that_torch_did_not_write(protocol, tiny_weights, tmp_path, taken):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": tiny_weights}, protocol))
    taken(tmp_path / "x.pkl")


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("new", [True, False])
def test_pickle_protocols(protocol, new, tiny_weights, save, taken):
    taken(save({"net": tiny_weights}, pickle_protocol=protocol, _use_new_zipfile_serialization=new))


@pytest.mark.parametrize("new", [True, False])
def test_tensors_that_are_parts_of_others(new, tiny_weights, save, taken):
    """Of one long storage, transposed, and repeated."""
    flat = torch.cat([value.flatten() for value in tiny_weights.values()])
    parts = flat.split([value.numel() for value in tiny_weights.values()])
    weights = {key: part.view(value.shape) for part, (key, value) in zip(parts, tiny_weights.items(), strict=True)}
    name = "layers.0.blocks.0.mlp.fc1.weight"
    weights[name] = weights[name].T.contiguous().T
    weights["norm.bias"] = torch.tensor([0.5]).expand(128)
    expected = {**tiny_weights, "norm.bias": torch.full((128,), 0.5)}
    taken(save({"net": weights}, _use_new_zipfile_serialization=new), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a checkpoint, or a damaged one"),
        (b"not a checkpoint", "is not a checkpoint, or a damaged one"),
        (b"\x80\x04N.", "holds no weights"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n",
            "is a Git LFS pointer and not the file",
        ),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page; download the file itself"),
        (b"\xef\xbb\xbf<HTML>", "is a web page"),
        (gzip.compress(b"x", mtime=0), "is compressed; unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"\x00" * 257 + b"ustar\x0000", "is a tar archive"),
        (b"PK\x03\x04" + bytes(100), "is not a checkpoint, or a damaged one"),
        ((50).to_bytes(8, "little") + b"{" + b"x" * 60, "is not a checkpoint, or a damaged one"),
    ],
)
@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors"])
def test_what_is_no_checkpoint(content, message, name, tmp_path, refusal):
    (tmp_path / name).write_bytes(content)
    assert message in refusal(tmp_path / name)


def test_other_zip_archives(tmp_path, refusal):
    for name, message in [
        ("model/HTSAT.ckpt", "is a zip archive with HTSAT.ckpt in it; unpack it first"),
        ("a.npy", "is a zip archive of no weights"),
    ]:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            archive.writestr(name, "x")
        assert message in refusal(tmp_path / "x.zip")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_program_of_torchscript(tmp_path, refusal):
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "x.pt")
    assert "is a TorchScript program, want a checkpoint: save the state_dict()" in refusal(tmp_path / "x.pt")


def test_a_pickle_that_grows(tiny_weights, tmp_path, refusal):
    with zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"]" * 10_000_000 + b".")
    tracemalloc.start()
    assert "is not a checkpoint, or a damaged one" in refusal(tmp_path / "x.pt")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_only_the_network_is_read(tiny_weights, save, tmp_path):
    """Beside it lies what is five times as large, such as an optimizer's state."""
    much = {f"state.{i}": torch.zeros(1_000_000) for i in range(5)}
    paths = [
        save({"optimizer": much, "net": tiny_weights}, f"{new}", _use_new_zipfile_serialization=new)
        for new in (True, False)
    ]
    save_file({**much, **{f"net.{key}": value for key, value in tiny_weights.items()}}, tmp_path / "safe")
    for path in [*paths, tmp_path / "safe"]:
        tracemalloc.start()
        load_checkpoint(path, CONFIG)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()


def test_no_file_and_an_empty_folder(tmp_path, refusal):
    assert refusal(tmp_path / "absent.ckpt").endswith("no such file")
    (tmp_path / "identity.txt").touch()
    assert refusal(tmp_path / "absent.ckpt").endswith("no such file")
    assert "no such file; the training has not written one yet" in refusal(tmp_path / "model.safetensors")
    assert "is a directory, want one checkpoint in it; it holds none" in refusal(tmp_path)
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / name).touch()
    assert "it holds several: a.ckpt, b.ckpt" in refusal(tmp_path)


def test_a_folder_with_one_checkpoint(tiny_weights, save, taken, tmp_path):
    path = save(tiny_weights, "epoch=3.ckpt")
    (tmp_path / "hparams.yaml").touch()
    taken(tmp_path)
    assert weight_files(tmp_path) == weight_files(path) == [path]


@pytest.mark.parametrize("form", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_whose_weights_are_in_parts(form, tiny_weights, save, taken, refusal, tmp_path):
    halves = [dict(list(tiny_weights.items())[:70]), dict(list(tiny_weights.items())[70:])]
    stem, suffix = form.split(".")
    names = [f"{stem}-{i}-of-2.{suffix}" for i in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        save(half, name) if suffix == "bin" else save_file(half, tmp_path / name)
    index = {key: name for name, half in zip(names, halves, strict=True) for key in half}
    (tmp_path / f"{form}.index.json").write_text(json.dumps({"weight_map": index}))
    taken(tmp_path)
    assert weight_files(tmp_path) == [tmp_path / name for name in names]
    (tmp_path / names[0]).unlink()
    assert "no such file" in refusal(tmp_path)
    for index in ({"a": "../elsewhere.bin"}, {}):
        (tmp_path / f"{form}.index.json").write_text(json.dumps({"weight_map": index}))
        assert "is not a checkpoint, or a damaged one" in refusal(tmp_path)


def test_parts_that_are_no_dictionaries(save, refusal, tmp_path):
    for name in ("a.bin", "b.bin"):
        save([1, 2], name)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"x": "a.bin", "y": "b.bin"}}))
    assert "a.bin: is not a checkpoint, or a damaged one" in refusal(tmp_path)


def test_nothing_is_read_before_it_is_wanted(tiny_weights, save):
    with opened(save(tiny_weights)) as content:
        tensor = content.value["norm.bias"]
        assert (tensor.shape, tensor.dtype) == ((128,), torch.float32)
        torch.testing.assert_close(tensor.read(), tiny_weights["norm.bias"])
