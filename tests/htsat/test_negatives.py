"""The sounds of other classes that ship with the package."""

import shutil

import numpy as np
import pytest

from htsat_edge.htsat.batches import identity_of
from htsat_edge.htsat.build_corpus import COLUMNS as CORPUS_COLUMNS
from htsat_edge.htsat.build_corpus import MANIFEST
from htsat_edge.htsat.build_negatives import build, loudest, main
from htsat_edge.htsat.config import NetworkConfig
from htsat_edge.htsat.corpus import read_corpora
from htsat_edge.htsat.negatives import (
    COLUMNS,
    NEGATIVES,
    STEP_DB,
    TABLE,
    decode,
    encode,
    load_negatives,
    refuse_unknown,
    related,
)
from htsat_edge.htsat.settings import TrainConfig
from htsat_edge.htsat.sources import foreign_sounds, open_scenes
from htsat_edge.runtime.common.config import read_csv
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.dsp.log_mel import FrontEnd, to_db

FRONT_END = NetworkConfig().front_end


def test_what_ships_is_apart_by_group_and_has_its_licences():
    corpus = {row["file"]: row for row in read_csv(MANIFEST, (*CORPUS_COLUMNS, "licence", "attribution"))}
    rows = read_csv(TABLE, COLUMNS)
    for row in rows:
        assert [row[name] for name in ("class", "group", "licence")] == [
            corpus[row["file"]][name] for name in ("class", "group", "licence")
        ]
        heard_by_the_bundled_model = {"train": ["train"], "val": ["train", "val"], "test": ["val"]}
        assert corpus[row["file"]]["split"] in heard_by_the_bundled_model[row["split"]]
    by_split = {split: {row["group"] for row in rows if row["split"] == split} for split in ("train", "val", "test")}
    assert sum(map(len, by_split.values())) == len({row["group"] for row in rows})
    negatives = load_negatives(FRONT_END, [])
    assert [own.path.as_posix() for own in negatives.recordings] == [row["file"] for row in rows]
    assert {split: len(negatives.sounds(split)) >= 120 for split in by_split} == dict.fromkeys(by_split, True)
    assert NEGATIVES.stat().st_size < 3e6


def test_classes_of_the_user_and_those_above_and_below_are_left_out():
    assert {"dog", "bark", "bow wow", "animal", "our bell"} <= related(["DOG", "Our bell"])
    assert not {"cat", "bell", "speech"} & related(["DOG", "Our bell"])
    negatives = load_negatives(FRONT_END, ["dog"])
    assert negatives.left_out == ["Animal", "Dog"]
    heard = {sound.recording.label for split in ("train", "val", "test") for sound in negatives.sounds(split)}
    assert {"Speech", "Bird", "background"} <= heard
    assert not {"Animal", "Dog"} & heard


def test_names_are_compared_as_those_of_folders_are():
    left_out = ["Animal", "Brass instrument", "Cattle, bovinae", "Cowbell", "Music", "Trumpet"]
    assert load_negatives(FRONT_END, ["Brass_instrument", "Cattle_bovinae"]).left_out == left_out
    refuse_unknown(["cattle_bovinae"])


def test_another_front_end_has_no_use_for_them(capsys):
    assert load_negatives(FRONT_END.model_copy(update={"n_mels": 32}), ["Dog"]) is None
    assert capsys.readouterr().out.startswith("negatives: not used, ")


def test_a_damaged_file_is_one_line(tmp_path):
    path = tmp_path / "negatives.npz"
    path.write_bytes(NEGATIVES.read_bytes()[:100_000])
    with pytest.raises(HtsatEdgeError, match=r"negatives\.npz: is missing or damaged"):
        load_negatives(FRONT_END, [], path)


def test_a_name_that_audioset_does_not_have_is_refused():
    refuse_unknown(["dog"])
    with pytest.raises(HtsatEdgeError, match=r"^not_negative: 'Dgo' is none of AudioSet's classes, meant Dog\?$"):
        refuse_unknown(["Dgo"])


def test_codes_keep_a_spectrogram_to_half_a_step():
    log_mel = np.random.default_rng(0).uniform(-30, 0, (50, 64)).astype(np.float32)
    log_mel[0] = -100
    decoded = to_db(decode(*encode(log_mel), np.random.default_rng(1)))
    assert np.abs(decoded - log_mel)[1:].max() <= STEP_DB
    assert 0.3 < np.abs(decoded - log_mel)[1:].mean() / STEP_DB < 0.4  # two even distributions apart
    assert np.abs(decoded[0] - log_mel.max() + 60).max() <= STEP_DB / 2


def test_of_a_long_recording_the_loudest_part_is_kept():
    power = np.ones((100, 4), np.float32)
    power[60:70] = 9
    assert loudest(power, 10).min() == 9
    assert len(loudest(power, 200)) == 100


def test_the_file_is_made_again_to_the_byte(corpus, tmp_path):
    table = tmp_path / "own.csv"
    table.write_text(
        "file,class,group,split,licence\nFowl-train.wav,Fowl,a,train,CC0\nSpeech-val.wav,Speech,b,val,CC0\n"
    )
    for name in ("one", "two"):
        build(corpus, table, tmp_path / f"{name}.npz")
        shutil.copy(table, tmp_path / f"{name}.csv")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    negatives = load_negatives(FRONT_END, [], tmp_path / "one.npz")
    assert [len(negatives.sounds(split)) for split in ("train", "val", "test")] == [1, 1, 0]
    assert len(negatives.codes[0]) == 2 / FrontEnd.model_validate({}).frame_s


def test_a_recording_that_is_not_there_is_one_line(corpus, tmp_path, capsys):
    assert main(["--data", str(corpus), "--out", str(tmp_path / "n.npz")]) == 2
    assert "Accordion" in capsys.readouterr().err
    assert not (tmp_path / "n.npz").exists()


@pytest.mark.parametrize("mixed", [True, False])
def test_scenes_hold_them_unless_told_otherwise(mixed, corpus, capsys):
    config = TrainConfig(network="x", labels=["Speech"], steps=1, negatives=mixed, not_negative=["Screaming"])
    recordings = [own for own in read_corpora([corpus]) if own.label != "Fowl"]
    source = open_scenes(recordings, ["Speech"], config, FRONT_END, slice(None))
    out = capsys.readouterr().out
    assert "no namesake" not in out
    printed = [line for line in out.splitlines() if line.startswith("negatives: ")]
    assert [line.endswith("left out, as yours or related: Screaming; Speech") for line in printed] == [True] * mixed
    assert source.batches._maker.has_others is mixed


def test_classes_that_may_be_among_them_by_another_name_are_named(capsys):
    foreign_sounds(["Chopping", "Dog"], TrainConfig(network="x", steps=1), FRONT_END)
    assert "no namesake of Chopping among AudioSet's classes" in capsys.readouterr().out


def test_a_training_is_another_one_with_them_and_without_what_it_was():
    config = TrainConfig(network="x", steps=1, negatives=False)
    changes = [{}, {"negatives": True}, {"negatives": True, "not_negative": ["Dog"]}]
    identities = [identity_of(config.model_copy(update=change), NetworkConfig(), [], None) for change in changes]
    assert len({*identities}) == 3
    # As it was before there were negatives: a stopped training goes on.
    assert identities[0] == "0f8b35716da8806aae2eb0f2d3a4bb139a6af3588c142c35d96fb3728f612ead"
