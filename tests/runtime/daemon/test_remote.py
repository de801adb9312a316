"""A daemon with a server: what it publishes, measures and checks."""

import pytest

pytest.importorskip("tritonclient")
pytest.importorskip("prometheus_client")

from htsat_edge.runtime.commands.check import check
from htsat_edge.runtime.common.config import read_yaml
from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config import DaemonConfig, SourceConfig
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.metrics import Collector
from htsat_edge.runtime.models.bundle import load_bundle


def with_server(bundle, url, **more):
    """Return the section `model`."""
    model = {"bundle": bundle, "backend": "remote", "precision": "fp32", "remote": {"url": url, **more}}
    return DaemonConfig.model_validate({"model": model}).model


def figures(parts):
    """Return what Prometheus gets of the backend."""
    collector = Collector(StatusReader(parts.sessions, parts.scorer, parts.publisher))
    return {
        sample.name: (sample.labels.get("backend"), sample.value)
        for metric in collector.collect()
        for sample in metric.samples
        if "backend" in sample.name or "remote" in sample.name
    }


def test_a_server_that_goes_is_published_and_no_sample_is_lost(
    start_daemon, tiny_bundle, serve, samples, wait_for, monkeypatch
):
    monkeypatch.setattr("htsat_edge.runtime.models.backends.remote_fallback.FIRST_PROBE_S", 0.05)
    monkeypatch.setattr("htsat_edge.runtime.models.backends.remote_fallback.BEGIN_S", 60.0)
    served = serve(load_bundle(tiny_bundle))
    started = start_daemon(model=with_server(tiny_bundle, served.url, timeout_s=30))
    name = f"{served.url}, model tiny"
    assert figures(started.parts)["htsat_edge_backend_info"] == (name, 1)
    assert figures(started.parts)["htsat_edge_remote_ready"] == (None, 1)
    started.feed.open(32_000)
    started.source.write(samples[: 12 * 32_000])
    wait_for(lambda: started.parts.scorer.windows > 1)
    served.stop()
    started.source.write(samples[12 * 32_000 : 16 * 32_000])
    wait_for(lambda: "backend_changed" in started.states())
    found = figures(started.parts)
    assert found["htsat_edge_backend_fallbacks_total"] == (None, 1)
    assert found["htsat_edge_backend_info"] == ("onnxruntime, fp32.onnx", 1)
    assert found["htsat_edge_remote_ready"] == (None, 0)
    served.start()
    wait_for(lambda: started.states().count("backend_changed") == 2)
    messages = started.end()
    assert [one["backend"] for one in messages if one.get("state") == "backend_changed"] == [
        "onnxruntime, fp32.onnx",
        name,
    ]
    assert [one for one in messages if one["type"] == "gap"] == []


@pytest.mark.parametrize("there", [True, False])
def test_check_says_how_the_server_does(there, tiny_bundle, serve, farmyard):
    served = serve(load_bundle(tiny_bundle))
    if not there:
        served.stop()
    config = DaemonConfig(
        model=with_server(tiny_bundle, served.url, timeout_s=60), sources=[SourceConfig(name="yard", file=farmyard)]
    )
    found = {result.name: result for result in check(config)}
    assert found["server"].ok == there
    assert ("model tiny: is ready, " if there else "cannot be reached: ") in found["server"].text
    assert found["bundle"].ok  # what takes over is looked at, too


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("{backend: remote}", "backend: remote needs a section `remote`"),
        ("{remote: {url: 'http://server'}}", "want http://HOST:PORT"),
        ("{remote: {url: 'http://me:hunter2@server:1'}}", "want http://HOST:PORT"),
        ("{remote: {url: 'http://server:8000', ca_file: ca.pem}}", "ca_file: is used only with https and grpcs"),
    ],
)
def test_a_wrong_section_is_said_in_one_line(text, wrong, tmp_path):
    (tmp_path / "detector.yaml").write_text(f"model: {text}\n")
    with pytest.raises(HtsatEdgeError) as raised:
        read_yaml(tmp_path / "detector.yaml", DaemonConfig)
    assert wrong in str(raised.value)
    assert "hunter2" not in str(raised.value)
