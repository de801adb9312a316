import json

from htsat_edge.evaluation.tuning import Tuning
from htsat_edge.runtime.common.config import read_json


def test_a_written_file_is_read_back(tmp_path):
    tuning = Tuning(thresholds={"Möwe": 0.5, "Dog": 0.37}, median_steps={"Dog": 3})
    tuning.write(tmp_path / "thresholds.json")
    text = (tmp_path / "thresholds.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"thresholds": {"Möwe": 0.5, "Dog": 0.37}, "median_steps": {"Dog": 3}}
    assert '"Möwe": 0.5' in text
    assert read_json(tmp_path / "thresholds.json", Tuning) == tuning
