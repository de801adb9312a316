"""Delivery to real services on this machine, which are slow, hang and refuse."""

import email
import json
import re
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from email import policy
from pathlib import Path

import pytest

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.daemon.config.notify import ServiceConfig
from htsat_edge.runtime.daemon.outputs.notify import deliver, service
from htsat_edge.runtime.daemon.outputs.notify.service import Notification, NotificationService, ask

apprise = pytest.importorskip("apprise")
pytestmark = pytest.mark.usefixtures("short_pauses")
ODD = 'Dog "<b>&{label}\\n%s Straße *x*'
"""Text that is something else in HTML, JSON, Markdown, templates and printf."""


def note(title="Dog", text="Dog at yard", clip=None):
    return Notification(title, text, time.monotonic(), clip)


def test_text_reaches_ntfy_as_it_is(ntfy, open_service, wait_for):
    phone = open_service(ntfy.url())
    phone.put(note(ODD, f"{ODD} at yard"))
    wait_for(lambda: phone.sent)
    assert ntfy.got == [{"topic": "sirens", "title": ODD, "message": f"{ODD} at yard"}]
    assert "apprise" not in json.dumps(ntfy.headers).lower(), "phones would ask another host for a picture"


def test_a_clip_is_attached(ntfy, open_service, wait_for, tmp_path):
    clip = tmp_path / "20260504T120000_yard_Dog.flac"
    clip.write_bytes(b"fLaC" + bytes(range(256)) * 40)
    phone = open_service(ntfy.url())
    phone.put(note(clip=clip))
    wait_for(lambda: phone.sent)
    (got,) = ntfy.got
    assert (got["filename"], got["file"]) == (clip.name, clip.read_bytes())
    assert (got["title"], got["message"], got["topic"]) == ("Dog", "Dog at yard", "sirens")


def test_a_clip_that_is_gone_or_too_large_is_left_out_and_the_text_says_so(ntfy, open_service, wait_for, tmp_path):
    large = tmp_path / "large.flac"
    large.write_bytes(b"fLaC")
    phone = open_service(ntfy.url())
    phone.put(note(clip=tmp_path / "gone.flac"))
    wait_for(lambda: phone.sent == 1)
    ntfy.codes += [413]
    phone.put(note(clip=large))
    wait_for(lambda: phone.sent == 2)
    without = {"topic": "sirens", "title": "Dog", "message": "Dog at yard\n(its clip is not attached)"}
    assert ntfy.got == [without, without]
    assert (phone.dropped, phone.failures) == (0, 0)


def test_mail_with_a_clip(smtp, open_service, wait_for, tmp_path):
    clip = tmp_path / "dog.flac"
    clip.write_bytes(b"fLaC" + bytes(1000))
    mail = open_service(f"mailto://127.0.0.1:{smtp.port}/?from=device@example.org&to=me@example.org")
    mail.put(note(ODD, f"{ODD}\nat yard", clip))
    wait_for(lambda: mail.sent)
    (content,) = smtp.got
    got = email.message_from_bytes(content, policy=policy.default)
    assert (got["subject"], got["to"]) == (ODD, "me@example.org")
    (attached,) = got.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("dog.flac", clip.read_bytes())
    body = got.get_body(("html", "plain"))
    plain = body.get_content_subtype() == "plain"
    assert (f"{ODD}\nat yard" if plain else "Dog &quot;&lt;b&gt;&amp;") in body.get_content().replace("\r\n", "\n")


def test_a_service_that_hangs_is_cut_and_tried_again(hanging, open_service, wait_for):
    phone = open_service(f"json://127.0.0.1:{hanging}", timeout_s=0.6)
    phone.put(note())
    wait_for(lambda: phone.failures >= 2)
    assert list(phone.notices()) == ["has not answered within 0.6 s; it is tried again"]
    assert (phone.sent, phone.failing) == (0, True)


def test_a_service_that_fails_for_a_while_gets_it_later_and_says_so(ntfy, open_service, wait_for):
    ntfy.codes += [503, 429]
    phone = open_service(ntfy.url())
    phone.put(note())
    wait_for(lambda: phone.sent)
    assert (phone.failures, phone.dropped, len(ntfy.got)) == (2, 0, 1)
    assert list(phone.notices()) == ["answered 503; it is tried again", None]


def test_what_a_service_refuses_is_lost_at_once_and_counted(ntfy, open_service, wait_for):
    ntfy.codes += [403]
    phone = open_service(ntfy.url())
    phone.put(note())
    phone.put(note("Cat"))
    wait_for(lambda: phone.sent)
    assert [got["title"] for got in ntfy.got] == ["Cat"]
    assert (phone.dropped, phone.failures) == (1, 0)
    assert next(iter(phone.notices())) == "answered 403; what is refused is lost"


def test_what_could_not_be_sent_for_long_is_lost_and_counted(ntfy, open_service, wait_for, monkeypatch, free_port):
    monkeypatch.setattr(service, "MOST_LATE_S", 1.5)
    phone = open_service(f"json://127.0.0.1:{free_port()}")
    phone.put(note())
    phone.put(note())
    wait_for(lambda: phone.dropped == 2)
    first, second = list(phone.notices())[:2]
    assert first == "refuses the connection; it is tried again"
    assert re.fullmatch(
        r"could not be reached for .* minutes; a notification is too old now; what is refused is lost", second
    )


def test_one_that_hangs_delays_no_other(ntfy, hanging, open_service, wait_for):
    slow = open_service(f"json://127.0.0.1:{hanging}", timeout_s=60, name="slow")
    quick = open_service(ntfy.url(), name="quick")
    slow.put(note())
    wait_for(lambda: not slow.waiting)
    for number in range(3):
        quick.put(note(str(number)))
    wait_for(lambda: quick.sent == 3)
    assert (slow.sent, slow.failures) == (0, 0)


def test_check_notifies_nobody(ntfy, monkeypatch):
    monkeypatch.setenv("URL", ntfy.url())
    config = ServiceConfig.model_validate({"url": {"env": "URL"}})
    assert NotificationService("phone", config).check() == "ntfy, 127.0.0.1 answers"
    assert ntfy.got == []


def test_check_says_what_is_wrong(monkeypatch, free_port):
    config = ServiceConfig.model_validate({"url": {"env": "URL"}})
    monkeypatch.delenv("URL", raising=False)
    with pytest.raises(HtsatEdgeError, match="the environment has no URL, which must hold a secret"):
        NotificationService("phone", config).start()
    for url, message in (
        ("hunter2", "outputs.notify.services.phone.url: is no address that Apprise knows, such as ntfys://TOPIC or "),
        (f"json://hunter2:hunter2@127.0.0.1:{free_port()}", "services.phone.url: JSON: 127.0.0.1:"),
    ):
        monkeypatch.setenv("URL", url)
        with pytest.raises(HtsatEdgeError) as raised:
            NotificationService("phone", config).check()
        assert message in str(raised.value)
        assert "hunter2" not in str(raised.value)


def test_without_apprise_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(service, "find_spec", lambda _: None)
    with pytest.raises(HtsatEdgeError, match=r'outputs\.notify needs Apprise: pip install "htsat-edge\[notify\]"'):
        NotificationService("phone", ServiceConfig.model_validate({"url": {"env": "URL"}})).start()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Apprise's own modules
@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("ntfy://topic", ("ntfy.sh", 443)),
        ("ntfys://example.org/topic", ("example.org", 443)),
        ("ntfy://example.org:8080/topic", ("example.org", 8080)),
        ("mailto://me:secret@gmail.com", ("smtp.gmail.com", 587)),
        ("mailtos://me:secret@example.org?smtp=mail.example.org&mode=ssl", ("mail.example.org", 465)),
        ("tgram://123456789:abcdefg_hijk/12315544", ("api.telegram.org", 443)),
        ("signal://example.org:8080/+15551234567/+15551234568", ("example.org", 8080)),
        ("syslog://", None),
    ],
)
def test_the_host_that_is_reached(url, place):
    assert deliver.find_host(apprise.Apprise.instantiate(url)) == place


SECRET = "hunter2Hunter2hunter2"
FORMS = (
    "ntfy://:{secret}@127.0.0.1:{port}/{secret}",
    "json://me:{secret}@127.0.0.1:{port}/{secret}?+X-Token={secret}",
    "mailto://me:{secret}@127.0.0.1:{port}/?from=a@example.org&to=b@example.org",
    "mailto://127.0.0.1:{port}/{secret}?nonsense={secret}",
    "matrix://me:{secret}@127.0.0.1:{port}/#{secret}",
    "{secret}",
    "nonsense://{secret}@127.0.0.1:{port}/{secret}",
)


CASES = [
    *((form, "hangs") for form in FORMS),
    *((form, answers) for form in (FORMS[0], FORMS[1], FORMS[4]) for answers in ("403", "500", "refuses")),
]


@pytest.mark.parametrize(("form", "answers"), CASES)
def test_a_secret_is_in_no_log_and_in_no_error(
    form, answers, ntfy, hanging, open_service, wait_for, caplog, capfd, monkeypatch, free_port
):
    """With every logger at its lowest level, and the program's standard error."""
    monkeypatch.setattr(service, "MOST_LATE_S", 0.1)
    caplog.set_level(1)
    caplog.set_level(1, "apprise")
    ntfy.codes += [int(answers)] * 50 if answers.isdigit() else []
    port = {"hangs": hanging, "refuses": free_port()}.get(answers, ntfy.server_port)
    phone = open_service(form.format(secret=SECRET, port=port), timeout_s=1 if answers == "hangs" else 10)
    phone.put(note())
    wait_for(lambda: phone.dropped)
    errors = []
    try:
        phone.check()
    except HtsatEdgeError as error:
        errors = traceback.format_exception(error)
    phone.close()
    printed = capfd.readouterr()
    told = [*errors, repr(phone), repr(phone.__dict__["_settings"]), *map(str, phone.notices())]
    records = [f"{record.getMessage()} {record.exc_text} {record.args}" for record in caplog.records]
    assert records
    for text in (*told, *records, printed.out, printed.err):
        assert SECRET not in text


def test_a_secret_stands_in_no_list_of_processes(hanging, wait_for):
    asked = threading.Thread(
        target=pytest.raises, args=(ConnectionError, ask, f"json://{SECRET}@127.0.0.1:{hanging}", 3, note())
    )
    asked.start()
    lists = []

    def listed():
        shown = b""
        for file in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
            with suppress(OSError):  # it has just ended, or is another user's
                shown += file.read_bytes()
        lists.append(shown)
        return b"notify.deliver" in shown

    wait_for(listed)
    asked.join()
    assert all(SECRET.encode() not in shown for shown in lists)


def test_the_process_gives_one_line_whatever_a_plugin_prints(monkeypatch, ntfy):
    """As a script of its own: its answer is JSON, and nothing of Apprise's log is on its standard error."""
    request = {"url": ntfy.url(SECRET), "timeout_s": 20, "check": False, "title": "", "text": "x", "clip": None}
    done = subprocess.run(
        [sys.executable, "-m", deliver.__name__], input=json.dumps(request).encode(), capture_output=True, check=True
    )
    assert json.loads(done.stdout) == {"failure": None, "refused": False, "found": "ntfy"}
    assert done.stderr == b""
