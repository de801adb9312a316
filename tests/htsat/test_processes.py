"""Several processes train as one does: the same losses, the same weights."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from htsat_edge.htsat.network import Block
from htsat_edge.htsat.processes import Processes
from htsat_edge.htsat.train import main
from htsat_edge.runtime.common.errors import HtsatEdgeError

ROOT = Path(__file__).parents[2]
SCRIPT = """
import contextlib, os, signal, sys
from pathlib import Path
import torch
torch.autocast = lambda *_: contextlib.nullcontext()  # bfloat16 would hide what differs
torch.set_num_threads(1)
from htsat_edge.htsat.processes import joined
from htsat_edge.htsat.settings import read_training
from htsat_edge.htsat.sources import read_clips
from htsat_edge.htsat.train import train
from htsat_edge.htsat.training import Training

config, data, out = map(Path, sys.argv[1:])
take_step = Training.take_step

def stop_one_at_three(training, *batch):
    take_step(training, *batch)
    if training.step == 3 and training.processes.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)

with joined() as processes:
    assert processes.count == 2
    print("only the first process prints")
    config, network = read_training(config)
    clips = read_clips([data])
    train(config, network, clips, out / "whole", processes=processes)
    Training.take_step = stop_one_at_three
    try:
        train(config, network, clips, out / "parts", processes=processes)
    except KeyboardInterrupt:
        print("was stopped")
    Training.take_step = take_step
    train(config, network, clips, out / "parts", processes=processes)
"""


@pytest.fixture
def clips_config(config):
    content = {
        "network": "network.yaml",
        "examples": "clips",
        "steps": 5,
        "batch": 4,
        "validate_every": 1,
        "drop_path": 0.3,
        "optimiser": "adamw",
    }
    config.write_text(yaml.safe_dump(content))
    return config


def read_losses(path):
    with path.open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_processes_train_as_one_and_go_on_as_if_never_stopped(clips_config, corpus, tmp_path, monkeypatch):
    """Two processes share each batch; one of them is stopped; the same curve as of one process, but for rounding."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [tmp_path / "script.py", clips_config, corpus, tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("only the first process prints") == 1
    assert "stopped after step 3; the same command goes on\nwas stopped" in done.stdout
    assert "going on from step 3 of 5" in done.stdout

    whole, parts = (tmp_path / name / "model.safetensors" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()

    monkeypatch.setattr(torch, "autocast", lambda *_: torch.enable_grad())
    assert main(["--config", str(clips_config), "--data", str(corpus), "--out", str(tmp_path / "one")]) == 0
    one, two = (read_losses(tmp_path / name / "curve.csv") for name in ("one", "whole"))
    assert len(one) == 5
    assert two == pytest.approx(one, rel=2e-4)
    alone, shared = load_file(tmp_path / "one" / "model.safetensors"), load_file(whole)
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=2e-3, atol=2e-4, msg=name)


def test_a_batch_is_shared_equally_or_not_at_all():
    parts = [Processes(rank=rank, count=3).part(12) for rank in range(3)]
    assert [list(range(12))[part] for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert list(range(12))[Processes().part(12)] == list(range(12))
    with pytest.raises(HtsatEdgeError, match="batch: 12 examples are not to be shared equally among 5 processes"):
        Processes(count=5).part(12)


def test_blocks_are_skipped_for_the_same_windows_whoever_sees_them():
    block = Block(8, 1, 64, shifted=False)
    block.drop = 0.5
    x = torch.ones(8, 2, 8)
    torch.manual_seed(3)
    whole = block._keep(x)
    found = []
    for part in range(4):
        block.part = (part, 4)
        torch.manual_seed(3)
        found.append(block._keep(x[:2]))
    assert torch.equal(torch.cat(found), whole)
    assert 0 < (whole == 0).float().mean() < 1
