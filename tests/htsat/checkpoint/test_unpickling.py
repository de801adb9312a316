"""No file runs anything, whatever its pickle says."""

import argparse
import builtins
import codecs
import collections
import contextlib
import io
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from htsat_edge.htsat.checkpoint import unpickling
from htsat_edge.htsat.checkpoint.loading import load_checkpoint
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.runtime.common.errors import HtsatEdgeError

CONFIG = NetworkConfig(embed_dim=16, depths=(2, 2, 3, 2), heads=(2, 4, 4, 8), classes=10)


class EarlyStopping:
    def __init__(self):
        self.patience, self.best = 3, np.float64(0.4)


class Options(dict):
    pass


class Custom:
    """With every way to be pickled."""

    def __reduce_ex__(self, protocol):
        return Custom, (1,), {"a": 1}, iter([1, 2]), iter([("k", 2)])


BESIDE = {
    "path": pathlib.PosixPath("/data"),
    "hyper_parameters": argparse.Namespace(lr=1e-3, classes=10),
    "default": collections.defaultdict(list, a=[1]),
    "callbacks": {"early": EarlyStopping()},
    "options": Options(a=1),
    "custom": Custom(),
    "scalar": np.float64(0.47),
    "array": np.arange(3),
    "set": {1, 2},
    "dtype": torch.float16,
    "device": torch.device("cpu"),
    "size": torch.Size([2, 3]),
    "class": EarlyStopping,
    "function": os.path.join,
    "generator": torch.Generator().get_state(),
    "parameter": torch.nn.Parameter(torch.zeros(2)),
    "deque": collections.deque([1, 2]),
    "counter": collections.Counter("ab"),
    "slice": slice(1, 2),
    "complex": 1j,
    "scheduler": {"lambda": [None], "optimizer": torch.optim.SGD([torch.zeros(1)], lr=1)},
}


@pytest.mark.parametrize("new", [True, False])
def test_objects_beside_the_weights_are_left(new, tiny_weights, save, taken):
    path = save({**BESIDE, "state_dict": tiny_weights}, _use_new_zipfile_serialization=new)
    said = taken(path).partition("objects not loaded: ")[2]
    assert said.startswith("argparse.Namespace, numpy._core.multiarray._reconstruct, ")


@pytest.mark.parametrize("name", sorted(BESIDE))
def test_each_object_alone(name, tiny_weights, save, taken):
    taken(save({name: BESIDE[name], "model": tiny_weights}))


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A folder in which nothing may appear, and the audit of everything that runs programs or imports."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield
    assert not list((tmp_path / "here").iterdir())


@pytest.mark.parametrize(
    ("program", "argument"),
    [
        (os.system, "touch was-run"),
        (builtins.eval, "open('was-run', 'w')"),
        (builtins.exec, "open('was-run', 'w')"),
        (builtins.__import__, "antigravity"),
        (subprocess.check_output, ["touch", "was-run"]),
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_what_runs_programs_is_named_and_not_run(
    program, argument, new, runs_code, tiny_weights, save, refusal, watched
):
    path = save({"state_dict": tiny_weights, "x": runs_code(program, argument)}, _use_new_zipfile_serialization=new)
    message = refusal(path)
    assert program.__name__ in message
    assert "could run code; refused, nothing was run" in message


@pytest.mark.parametrize(
    ("program", "argument"), [(torch.load, "other.pt"), (pathlib.Path, "x"), (getattr, "x"), (pickle.loads, b"x")]
)
def test_other_calls_are_not_made(program, argument, runs_code, tiny_weights, save, taken, watched):
    taken(save({"state_dict": tiny_weights, "x": runs_code(program, argument)}))


def test_tuples_that_stand_in_many_places(tiny_weights, save, taken):
    """As an optimizer's (0.9, 0.999) does, in each of its groups."""
    inner = one = (0.9, 0.999)
    for _ in range(20):
        one = (one, inner)
    taken(
        save(
            {"model": tiny_weights, "groups": [{"betas": inner, "more": (inner, inner)} for _ in range(200)], "x": one}
        )
    )


def zipped(program):
    """A file of torch whose pickle is `program`."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x/data.pkl", program)
        archive.writestr("x/data/0", bytes(64))
        archive.writestr("x/version", "3\n")
    return file.getvalue()


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


SYSTEM = b"cposix\nsystem\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
INERT = b"ca\nb\n"
STORAGE = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"0") + text(b"cpu") + b"K\x04tQ"
LARGE = struct.pack("<I", 0x7FFFFFFF)
HUGE = struct.pack("<Q", 1 << 60)
ADVERSARIAL = {
    "a call of what a call gave": INERT + b")R)R.",
    "a state that is a program": INERT + b")\x81}" + text(b"__setstate__") + SYSTEM + b"sb.",
    "a state of a class": INERT + b"}" + text(b"__setstate__") + INERT + b"sb.",
    "a state of a function": REBUILD + b"}" + text(b"__defaults__") + b"Nsb.",
    "a state of slots": INERT + b")\x81N}" + text(b"__class__") + INERT + b"s\x86b.",
    "a state of a list": b"]}" + text(b"append") + INERT + b"sb.",
    "a state of a dtype": b"ctorch\nfloat32\n}" + text(b"itemsize") + b"K\x00sb.",
    "a chain of attributes": b"\x80\x04" + text(b"os") + text(b"path.os.system") + b"\x93" + text(b"ls") + b"\x85R.",
    "an instance": b"(" + text(b"x") + b"iposix\nsystem\n.",
    "an object": b"(" + SYSTEM + text(b"x") + b"o.",
    "a new object of a function": REBUILD + b")\x81.",
    "a name by number": b"\x80\x02\x82\x01.",
    "a place far off in the memo": b"\x80\x02]r" + LARGE + b".",
    "a text place far off in the memo": b"]p2147483647\n.",
    "a long string": b"\x80\x04\x8d" + HUGE + b"x.",
    "a long array of bytes": b"\x80\x05\x96" + HUGE + b"x.",
    "a long frame": b"\x80\x04\x95" + HUGE + b"N.",
    "a storage of no kind": b"(lQ.",
    "a storage of another key": b"(" + text(b"storage") + b"NK\x00" + text(b"cpu") + b"K\x04tQ.",
    "a storage by text": b"Pposix.system\n.",
    "a tensor of a list": REBUILD + b"(]K\x00]]tR.",
    "a tensor of a negative place": REBUILD + b"(" + STORAGE + b"J\xff\xff\xff\xff))tR.",
    "a tensor of floats": REBUILD + b"(" + STORAGE + b"K\x00G" + bytes(8) + b"\x85)tR.",
    "a subclass by a program": b"ctorch._tensor\n_rebuild_from_type_v2\n(" + INERT + INERT + b")NtR.",
    "bytes of a file that are none": b"ctorch.storage\n_load_from_bytes\nC\x03abc\x85R.",
    "a file within a file": b"ctorch.storage\n_load_from_bytes\nC\x1b\x80\x02" + SYSTEM + text(b"ls") + b"\x85R.\x85R.",
    "a key whose hash takes for ever": b"\x80\x04}K\x00\x85\x94"
    + b"".join(b"h%c\x86\x94" % i for i in range(60))
    + b"Ns.",
    "the same by doubling": b"}K\x00\x85" + b"2\x86" * 60 + b"Ns.",
    "nothing": b"",
    "no end": b"]]]]",
    "an end": b".",
    "deep": b"(" * 50_000 + b"t" * 50_000 + b".",
    "a list in itself": b"]\x94h\x00a.",
    "a key that has no hash": b"}]Ns.",
}


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
@pytest.mark.parametrize("form", ["zip", "stream"])
def test_adversarial_pickles(name, form, tmp_path, watched):
    path = tmp_path / "x.pt"
    program = ADVERSARIAL[name]
    path.write_bytes(zipped(program) if form == "zip" else (b"" if program[:1] == b"\x80" else b"\x80\x02") + program)
    with pytest.raises(HtsatEdgeError):
        load_checkpoint(path, CONFIG)


def test_what_a_pickle_did_does_not_last():
    """No state of one file reaches the next."""
    before = {name: dict(vars(value)) for name, value in vars(unpickling).items() if isinstance(value, type)}
    for program in ADVERSARIAL.values():
        with contextlib.suppress(Exception):
            unpickling.unpickle(io.BytesIO(program), None, lambda content: None)
    after = {name: dict(vars(value)) for name, value in vars(unpickling).items() if isinstance(value, type)}
    assert after == before
    assert all(function.__defaults__ is None for function in (unpickling._rebuild, unpickling._rebuild_typed))


def test_tensors_beyond_their_storage_and_bombs(tmp_path, watched):
    """A tensor of 2 ** 47 elements that repeats one, and one that is longer than its storage: no memory, one line."""
    from htsat_edge.htsat.checkpoint.files import opened

    key = text(b"patch_embed.proj.weight")
    wide = STORAGE + b"K\x00\x8a\x06" + (1 << 46).to_bytes(6, "little") + b"\x85K\x00\x85\x89}"
    long = STORAGE + b"K\x00K\x20\x85K\x01\x85\x89}"
    for tensor in (wide, long):
        path = tmp_path / "x.pt"
        path.write_bytes(zipped(b"\x80\x02}" + key + REBUILD + b"(" + tensor + b"tRs."))
        with pytest.raises(HtsatEdgeError, match=r"'bn0\.weight' is missing"):
            load_checkpoint(path, CONFIG)
    with opened(path) as content, pytest.raises(ValueError, match=r"beyond its storage"):
        content.value["patch_embed.proj.weight"].read()


@pytest.fixture(scope="module")
def programs():
    """Pickles of real objects to mutate, some of which would run a program."""
    evil = RunsCode()
    contents = [{**BESIDE, "x": torch.zeros(3)}, {"a": [evil, Custom()]}, [evil], {"state_dict": {"w": torch.ones(2)}}]
    found = [pickle.dumps(content, protocol) for content in contents for protocol in (0, 1, 2, 4, 5)]
    for content in contents:
        file = io.BytesIO()
        torch.save(content, file)
        found.append(zipfile.ZipFile(file).read("archive/data.pkl"))
    return [*found, *ADVERSARIAL.values()]


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch was-run",)


RAN = []


def watch(event, arguments):
    if RAN and event in ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "exec", "compile", "import"):
        RAN.append((event, arguments))


def mutate(rng, program, other):
    program = bytearray(program)
    for _ in range(rng.randrange(5)):
        at = rng.randrange(len(program) + 1)
        match rng.choice(["flip", "cut", "splice"]):
            case "flip" if at < len(program):
                program[at] = rng.randrange(256)
            case "cut":
                del program[at : at + rng.randrange(1, 9)]
            case _:
                begin = rng.randrange(len(other) + 1)
                program[at:at] = other[begin : begin + rng.randrange(1, 40)]
    return bytes(program)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_pickles_run_nothing(seed, programs, watched):
    """Python's audit of what runs programs, compiles or imports stays empty, and only exceptions come out."""
    codecs.lookup("raw_unicode_escape")  # of pickles in text: Python imports it when it is used first
    rng, read = random.Random(seed), 0
    for _ in range(1500):
        program = mutate(rng, rng.choice(programs), rng.choice(programs))
        RAN.append("watching")
        with contextlib.suppress(Exception):  # of any type: the caller makes one line of it
            unpickling.unpickle(io.BytesIO(program), None, lambda content: None)
            read += 1
        ran = RAN[1:]
        RAN.clear()
        assert ran == [], program
    assert read > 50  # many mutations leave a pickle that can be read


sys.addaudithook(watch)
