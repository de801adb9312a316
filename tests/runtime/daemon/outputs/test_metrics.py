import urllib.error
import urllib.request

import pytest
from prometheus_client.core import GaugeMetricFamily

from htsat_edge.runtime.common.errors import NotReadyError
from htsat_edge.runtime.daemon.config import MetricsConfig
from htsat_edge.runtime.daemon.outputs.metrics import MetricsServer


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


class OneFigure:
    """A collector of one figure."""

    healthy = True

    def collect(self):
        return [GaugeMetricFamily("htsat_edge_test", "A test", value=3)]

    def health(self):
        return self.healthy, {"healthy": self.healthy}


def test_metrics_and_health_over_http(free_port):
    port, collector = free_port(), OneFigure()
    server = MetricsServer(MetricsConfig(port=port), collector)
    server.start()
    status, kind, text = get(port, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "htsat_edge_test 3.0" in text
    assert get(port, "/healthz") == (200, "application/json", '{"healthy": true}')
    collector.healthy = False
    assert get(port, "/healthz") == (503, "application/json", '{"healthy": false}')
    assert get(port, "/")[0] == 404
    server.close()
    with pytest.raises(OSError, match="refused"):
        get(port, "/healthz")


def test_a_port_that_is_taken_is_an_error(free_port):
    port = free_port()
    server = MetricsServer(MetricsConfig(port=port), OneFigure())
    server.start()
    message = rf"outputs.metrics: 127.0.0.1:{port}: cannot be listened on: Address already"
    with pytest.raises(NotReadyError, match=message):
        MetricsServer(MetricsConfig(port=port), OneFigure())
    server.close()
