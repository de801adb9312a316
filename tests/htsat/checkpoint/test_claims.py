"""What a checkpoint says of itself is not overruled in silence."""

import argparse
import json

import pytest
import torch
from safetensors.torch import save_file

from htsat_edge.configs import CONFIGS
from htsat_edge.htsat.checkpoint.claims import ClassNames, check_order, in_order
from htsat_edge.htsat.checkpoint.loading import load_checkpoint
from htsat_edge.htsat.config import NetworkConfig, read_network
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd, mel_filters

CONFIG = NetworkConfig(embed_dim=16, depths=(2, 2, 3, 2), heads=(2, 4, 4, 8), classes=10)
NAMES = [f"class {i}" for i in range(10)]


def filters_of(name):
    return torch.from_numpy(mel_filters(read_network(CONFIGS / "networks" / f"{name}.yaml").front_end))


@pytest.fixture
def networks(tmp_path, monkeypatch):
    """The network files of one size that there are, in the tiny size."""
    (tmp_path / "networks").mkdir()
    for name in ("audioset", "clap-tiny", "clap-2023", "clap-2023-as-run"):
        front_end = read_network(CONFIGS / "networks" / f"{name}.yaml").front_end
        content = CONFIG.model_copy(update={"front_end": front_end}).model_dump(mode="json", exclude_none=True)
        (tmp_path / "networks" / f"{name}.yaml").write_text(json.dumps(content))
    monkeypatch.setattr("htsat_edge.htsat.checkpoint.claims.NETWORKS", tmp_path / "networks")
    return tmp_path / "networks"


@pytest.mark.parametrize(
    ("name", "given", "advised"),
    [
        ("clap-tiny", "audioset", ["clap-tiny"]),
        ("audioset", "clap-tiny", ["audioset", "clap-2023-as-run"]),  # these two have the same matrix
        ("clap-2023", "audioset", ["clap-2023"]),
        ("clap-2023-as-run", "clap-2023", ["clap-2023-as-run"]),
        ("clap-2023", "clap-2023-as-run", ["clap-2023"]),
    ],
)
def test_the_mel_filters_choose_between_networks_of_one_size(
    name, given, advised, networks, tiny_weights, save, refusal
):
    state = tiny_weights | {"logmel_extractor.melW": filters_of(name)}
    path = save({f"audio_branch.{key}": value for key, value in state.items()})
    said = refusal(path, read_network(networks / f"{given}.yaml"))
    assert "its own mel filters ('logmel_extractor.melW') are not those of the network file's front_end" in said
    assert said.endswith("; they are those of " + " or ".join(f"configs/networks/{one}.yaml" for one in advised))
    load_checkpoint(path, read_network(networks / f"{name}.yaml"))


def test_mel_filters_of_nobody_we_know(tiny_weights, save, refusal, taken):
    filters = torch.from_numpy(mel_filters(FrontEnd(fmax=7000)))
    said = refusal(save(tiny_weights | {"logmel_extractor.melW": filters}))
    assert said.endswith("(sample_rate 32000, n_fft 1024, fmin 50, fmax 14000)")
    taken(save(tiny_weights | {"logmel_extractor.melW": filters_of("audioset").half()}))


def test_class_names_are_found_wherever_trainers_put_them(tiny_weights, save, tmp_path):
    found = {
        "state_dict": tiny_weights,
        "hyper_parameters": {"class_names": NAMES},
        "args": argparse.Namespace(classes=NAMES),
    }
    names = load_checkpoint(save(found), CONFIG).class_names
    assert [(claim.place, list(claim.names)) for claim in names] == [
        ("hyper_parameters.class_names", NAMES),
        ("args.classes", NAMES),
    ]
    assert load_checkpoint(save({"m": tiny_weights, "classes": NAMES[:9]}), CONFIG).class_names == []
    save_file(tiny_weights, tmp_path / "model.safetensors", metadata={"id2label": json.dumps(dict(enumerate(NAMES)))})
    assert load_checkpoint(tmp_path, CONFIG).class_names[0].place == "__metadata__.id2label"
    (tmp_path / "config.json").write_text(json.dumps({"label2id": {name: i for i, name in enumerate(NAMES)}}))
    assert "config.json.label2id" in [claim.place for claim in load_checkpoint(tmp_path, CONFIG).class_names]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["a", "b"], ["a", "b"]),
        ({"1": "b", "0": "a"}, ["a", "b"]),
        ({1: "b", 0: "a"}, ["a", "b"]),
        ({"b": 1, "a": 0}, ["a", "b"]),
        ({"b": 2, "a": 0}, None),
        ({"b": True, "a": False}, None),
        ({0: "a", 1: 2}, None),
        ([1, 2], None),
        ([], None),
        ({}, None),
        ("ab", None),
        (None, None),
    ],
)
def test_in_order(value, names):
    assert in_order(value) == names


def test_an_order_that_contradicts_the_checkpoint(tiny_weights, save, tmp_path):
    claimed = load_checkpoint(save({"m": tiny_weights, "classes": NAMES}), CONFIG).class_names
    check_order(tmp_path, [name.replace(" ", "_").title() for name in NAMES], claimed)
    check_order(tmp_path, ["Bell", *NAMES[1:]], claimed)
    with pytest.raises(
        HtsatEdgeError, match="'class 0' is output 1 here, but output 0 in classes of the checkpoint itself"
    ):
        check_order(tmp_path, [NAMES[1], NAMES[0], *NAMES[2:]], claimed)


@pytest.mark.parametrize("spelt", ["CLASS-{}", "Class_{}", "\uff43lass  {}"])
def test_an_order_in_another_spelling(spelt, tmp_path):
    """What data sets take for nearly equal is one class here, too."""
    claimed = [ClassNames("classes", tuple(NAMES))]
    check_order(tmp_path, [spelt.format(i) for i in range(10)], claimed)
    with pytest.raises(HtsatEdgeError, match="'class 0' is output 9 here, but output 0"):
        check_order(tmp_path, [spelt.format(9 - i) for i in range(10)], claimed)


def test_labels_that_are_nearly_equal_are_no_contradiction(tmp_path):
    names = ["hi-hat", "hi hat", "bell"]
    check_order(tmp_path, names, [ClassNames("classes", tuple(names))])
