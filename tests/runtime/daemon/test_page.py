"""The page's process, with programs in its place that do what it must not; and a daemon that does not mind."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.lifeline import NICENESS
from htsat_edge.runtime.daemon import page as pages
from htsat_edge.runtime.daemon import servers
from htsat_edge.runtime.daemon.clock import SystemClock
from htsat_edge.runtime.daemon.config import DaemonConfig, OutputsConfig, StoreConfig, WebConfig
from htsat_edge.runtime.daemon.live.status import StatusReader
from htsat_edge.runtime.daemon.page import Page
from htsat_edge.runtime.daemon.parts import Carried
from htsat_edge.runtime.daemon.publisher import Publisher
from htsat_edge.runtime.daemon.scorer import Scorer

STANDS = "import sys, time; print(len(sys.stdin.read()), file=open(sys.argv[1], 'a'), flush=True); "


@pytest.fixture
def quick(monkeypatch):
    """Shortens the pauses between starts, and how long a page must run."""
    monkeypatch.setattr(pages, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(pages, "LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr(pages, "WORKS_S", 0.3)


@pytest.fixture
def config(tmp_path):
    return DaemonConfig(
        outputs=OutputsConfig(stdout=False, store=StoreConfig(path=tmp_path / "events.db")), web=WebConfig()
    )


@pytest.fixture
def begin(tmp_path, config):
    """Starts a page that is a program of the test's; `starts` are the lengths of the configurations that came."""
    made = []

    def start(code):
        log = tmp_path / "starts"
        page = Page(config, lambda _: [sys.executable, "-c", STANDS + code, str(log)])
        page.starts = lambda: log.read_text().split() if log.exists() else []
        made.append(page)
        page.start()
        return page

    yield start
    for page in made:
        page.close()


def ended(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_runs_at_low_priority_with_the_configuration_and_ends_with_the_daemon(begin, config, wait_for):
    page = begin("time.sleep(60)")
    wait_for(page.starts, 20)
    assert page.starts() == [str(len(json.dumps(config.model_dump(mode="json", by_alias=True))))]
    process_id = page._process.pid
    assert os.getpriority(os.PRIO_PROCESS, process_id) == NICENESS
    assert (page.failing, [*page.notices()]) == (False, [])
    page.close()
    assert ended(process_id)
    assert [*page.notices()] == []


def test_one_that_is_killed_is_reported_once_and_back_once_it_has_run_for_a_while(begin, quick, wait_for):
    page, notices = begin("time.sleep(60)"), []
    for count in (1, 2):
        wait_for(lambda count=count: len(page.starts()) == count, 20)
        if count == 1:
            page._process.kill()
    wait_for(lambda: notices.extend(page.notices()) or len(notices) > 1, 20)
    assert notices == ["the page has ended with signal 9; it is started again", None]
    assert not page.failing


def test_one_that_will_not_start_is_tried_again_and_says_why(begin, quick, wait_for, caplog):
    page, notices = begin("sys.exit('htsat-edge: web: port 8480 is taken')"), []
    wait_for(lambda: len(page.starts()) > 3, 30)
    notices += page.notices()
    assert notices == ["the page has ended with status 1: htsat-edge: web: port 8480 is taken; it is started again"]
    assert page.failing


def test_one_that_does_not_end_is_killed(begin, wait_for, monkeypatch):
    monkeypatch.setattr(pages, "STOP_S", 0.2)
    page = begin(
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print(1, file=open(sys.argv[1], 'a')); time.sleep(60)"
    )
    wait_for(lambda: len(page.starts()) == 2, 20)
    process_id = page._process.pid
    page.close()
    wait_for(lambda: ended(process_id), 20)


def test_what_it_prints_without_end_does_not_fill_the_log(begin, wait_for, caplog):
    caplog.set_level("INFO")
    page = begin("[print('x' * 10_000, file=sys.stderr) for _ in range(1000)]; time.sleep(60)")
    wait_for(page.starts, 20)
    wait_for(lambda: len(caplog.records) > pages.MOST_LINES, 20)
    assert len(caplog.records) <= pages.MOST_LINES + 1
    assert max(len(record.getMessage()) for record in caplog.records) < 2 * pages.MOST_LINE


def test_a_page_needs_a_store():
    with pytest.raises(ValueError, match=r"web: the page shows what is stored: give outputs.store.path"):
        DaemonConfig(web=WebConfig())


@pytest.mark.parametrize("web", [{"host": "0.0.0.0"}, {"host": "yard"}, {"names": ["yard.example"]}])
def test_a_page_that_others_can_reach_needs_a_password(web, tmp_path):
    with pytest.raises(
        ValueError, match=r"(0\.0\.0\.0|yard|yard\.example): is not this device alone: a password is needed"
    ):
        WebConfig(**web)
    assert WebConfig(**web, password_file=tmp_path / "password").password_file
    assert WebConfig(host="::1").is_local


def test_a_page_that_fails_does_not_make_the_daemon_unhealthy(begin, quick, wait_for):
    """Whoever restarts what is unhealthy would lose sound for a page."""
    page = begin("sys.exit('htsat-edge: web: port 8480 is taken')")
    wait_for(lambda: page.failing, 20)
    publisher = Publisher([], SystemClock(0.0, 0.0))
    publisher.reporters.append(page)
    status = StatusReader([], Scorer(None, None, None), publisher)
    assert status.healthy
    assert [(output.name, output.works) for output in status.outputs()] == [("web", False)]


def test_a_page_goes_on_with_the_next_daemon_where_it_is_carried_on(begin, config, quick, wait_for):
    """Its process is the same: a browser that waits for an answer gets it."""
    page, carried = begin("time.sleep(1000)"), Carried()
    system = SystemClock(0.0, 0.0)
    for goes_on in (True, False):
        status = StatusReader([], Scorer(None, None, None), Publisher([], system))
        carried.page = page
        with ExitStack() as opened:
            assert servers.open_page(config, status, opened, carried, None) is page
            assert page in status.publisher.reporters
            carried.clear()
            wait_for(page.starts)
            if goes_on:
                carried.page = page
        assert (page._process is not None) == goes_on
    assert len(page.starts()) == 1


def test_the_page_knows_the_file_that_it_may_change(tmp_path):
    assert pages.page_command(7, tmp_path / "detector.yaml")[-2:] == ["--config-file", str(tmp_path / "detector.yaml")]
    assert "--config-file" not in pages.page_command(7)


def test_the_socket_is_beside_the_store_unless_the_configuration_says_where(config, tmp_path):
    assert config.live_socket == tmp_path / "events.db.live"
    elsewhere = config.model_copy(update={"web": WebConfig(socket=tmp_path / "live")})
    assert elsewhere.live_socket == tmp_path / "live"
    assert DaemonConfig().live_socket is None


def test_without_its_libraries_the_daemon_says_so_at_once(config, filled_source, monkeypatch):
    from htsat_edge.runtime.daemon.assembly import assemble

    monkeypatch.setattr(pages, "find_spec", lambda _: None)
    with pytest.raises(HtsatEdgeError, match=r"the page needs FastAPI and uvicorn: pip install"):
        assemble(config, [filled_source()])


def test_the_page_ends_when_the_daemon_is_killed(tmp_path, wait_for, free_port):
    """The real one: `htsat-edge listen` starts `htsat-edge web`, and both are looked for by their parent."""
    config = tmp_path / "detector.yaml"
    config.write_text(
        "sources: [{name: pipe, stdin: {sample_rate: 32000}}]\n"
        f"outputs: {{stdout: false, store: {{path: {tmp_path}/events.db}}}}\n"
        f"web: {{port: {free_port()}}}\n"
    )
    command = [sys.executable, "-m", "htsat_edge", "listen", "--config", config]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as daemon:
        try:
            wait_for((tmp_path / "events.db.live").exists, 60)
            wait_for(lambda: children(daemon.pid), 60)
            (page,) = children(daemon.pid)
        finally:
            daemon.send_signal(signal.SIGKILL)
    wait_for(lambda: stat_of(page)[0] == "Z", 30)


def stat_of(process_id):
    """Return the state and the parent of a process; a zombie's where it is no longer there."""
    try:
        state, parent, *_ = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "Z", 0
    return state, int(parent)


def children(parent):
    """Return the processes that a process has started."""
    processes = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return [one for one in processes if stat_of(one)[1] == parent]
