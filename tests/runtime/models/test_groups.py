import pytest

from htsat_edge.configs import CONFIGS
from htsat_edge.runtime.common.config import read_csv, read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.models.bundle import ModelInfo, load_bundle
from htsat_edge.runtime.models.groups import SHIPPED, Group, GroupsFile, read_groups
from htsat_edge.runtime.models.settings import Settings


def of_labels(labels, **more):
    return ModelInfo(name="some", front_end={}, frames=1024, steps=32, step_s=0.32, labels=labels, **more)


@pytest.fixture(scope="module")
def audioset():
    """A model of AudioSet's labels, with their tree and without thresholds, as export makes one of a checkpoint."""
    rows = read_csv(CONFIGS / "labels" / "audioset.csv", ["label"])
    parents = {row["label"]: row["parents"].split(";") for row in rows if row["parents"]}
    return of_labels([row["label"] for row in rows], parents=parents)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "groups.yaml"
    path.write_text("Dog: [Dog, Bark]\nAlarm: {labels: [Siren], threshold: 0.25}\n")
    groups = read_groups(str(path), of_labels(["Cat"]))
    assert groups == {"Dog": Group(labels=["Dog", "Bark"]), "Alarm": Group(labels=["Siren"], threshold=0.25)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Dog: {lables: [Dog]}", "Dog.labels: key is missing"),
        ("Dog: {labels: [Dog], treshold: 1}", "Dog.treshold: unknown key, meant threshold?"),
        ("Dog: []", "Dog.labels: List should have at least 1 item after validation, not 0"),
        ("Dog: {labels: [Dog], threshold: 1}", "Dog.threshold: Input should be less than 1, not 1"),
        ("[Dog]", "Input should be a valid dictionary, not a list"),
        ("Dog: Bark", "Dog: wants keys (labels, threshold, few_false_alarms, miss_little), not 'Bark'"),
    ],
)
def test_a_file_that_holds_none(text, message, tmp_path):
    path = tmp_path / "groups.yaml"
    path.write_text(text)
    with pytest.raises(HtsatEdgeError) as raised:
        read_groups(str(path), of_labels(["Dog"]))
    assert str(raised.value).startswith(f"{path}: {message.split(',')[0]}")


def test_a_file_that_is_not_there():
    with pytest.raises(HtsatEdgeError, match=r"^groups: audiosett: no such file, meant audioset\?$"):
        read_groups("audiosett", of_labels(["Dog"]))
    with pytest.raises(HtsatEdgeError, match=r"^groups: mine.yaml: no such file; audioset ship with this$"):
        read_groups("mine.yaml", of_labels(["Dog"]))


def test_of_those_that_ship_a_model_has_what_it_knows():
    """Its own thresholds, which were measured, count more than ours, which were not."""
    groups = read_groups("audioset", of_labels(["Bark", "Siren", "Car", "Kazoo"], thresholds={"Siren": 0.9}))
    assert groups == {
        "Siren": Group(labels=["Siren"]),
        "Dog": Group(labels=["Bark"], threshold=0.4),
        "Road vehicle": Group(labels=["Car"], threshold=0.6),
    }
    with pytest.raises(HtsatEdgeError, match="groups: audioset: the model has none of these labels"):
        read_groups("audioset", of_labels(["Kazoo"]))


def test_the_bundled_model_takes_those_that_ship():
    info = load_bundle().info
    Settings(groups=read_groups("audioset", info)).validate(info)


def test_those_that_ship_fit_audioset(audioset):
    content = read_yaml(SHIPPED / "audioset.yaml", GroupsFile).root
    assert read_groups("audioset", audioset) == content
    settings = Settings(groups=content)
    settings.validate(audioset)
    assert {0.4, 0.5, 0.6} == {group.threshold for group in content.values()}
    assert set(content) <= set(settings.reported(audioset))
    assert not set(content) & set(settings.without_threshold(audioset))
    classes = settings.classes(audioset)
    dog = classes.labels.index("Dog")
    own = [audioset.labels[k] for k in classes.columns[dog]]
    assert own == ["Dog", "Bark", "Yip", "Bow-wow", "Whimper (dog)"]
    assert {classes.labels[k] for k in classes.below[dog].nonzero()[0]} == {"Animal", "Domestic animals, pets"}
    late = {classes.labels[k] for k in classes.below.any(axis=0).nonzero()[0]} & set(content)
    assert late == {"Explosion", "Door", "Farm animal", "Road vehicle", "Music"}  # the others start early


def test_no_label_is_in_two_of_those_that_ship(audioset):
    labels = [label for group in read_groups("audioset", audioset).values() for label in group.labels]
    assert len(set(labels)) == len(labels)


def test_the_tree_of_audioset(audioset):
    """As its ontology has it, without the labels that are not among the 527."""
    assert audioset.ancestors("Bark") == {"Dog", "Domestic animals, pets", "Animal"}
    assert audioset.ancestors("Police car (siren)") == {
        *("Siren", "Alarm"),
        *("Emergency vehicle", "Motor vehicle (road)", "Vehicle"),
    }
    assert audioset.ancestors("Techno") == {"Electronic music", "Music"}  # its genres are no class
    assert audioset.ancestors("Growling") == {"Animal"}  # of a dog or a cat
    assert audioset.ancestors("Speech") == audioset.ancestors("Hiss") == set()
    assert len(audioset.parents) == 400
