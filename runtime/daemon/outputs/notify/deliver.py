"""Deliver one notification by Apprise, in a process of its own.

A service that hangs is ended with the process, whatever it hangs in; what Apprise and its libraries log, which holds
addresses and so secrets, stays here; and the daemon loads none of them. The request comes on stdin, so that no list of
processes shows it; the answer goes to stdout.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import sys
from typing import Any, TypedDict
from urllib.parse import urlsplit

NICE = 5
"""Detection goes first."""
AGAIN = (408, 425, 429)
"""Answers to a request that may be accepted later, beside the server's own faults from 500 on."""
CAUSES = (
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", "its certificate is not trusted"),
    (r"NameResolution|getaddrinfo|Name or service not known|name resolution", "the name of its host is not known"),
    (r"[Cc]onnection refused", "refuses the connection"),
    (r"timed out|ReadTimeout|ConnectTimeout", "has not answered in time"),
    (r"SMTPAuthenticationError|\(535,", "accepts neither the user nor the password"),
)
"""What Apprise logs of a failure, and our words for it: its own may hold secrets."""


class DeliveryRequest(TypedDict):
    """What is wanted."""

    url: str
    """As Apprise has it."""
    timeout_s: float
    check: bool
    """Whether to reach the host only, and notify nobody."""
    title: str
    text: str
    clip: str | None
    """Path of the file to attach."""


class DeliveryAnswer(TypedDict):
    """What has become of it."""

    failure: str | None
    """Why it was not done; None where it was."""
    refused: bool
    """Whether it would fail again."""
    found: str
    """The kind of service, and its host where that was reached."""


class LogCollector(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(f"{record.getMessage()} {record.exc_info[1] if record.exc_info else ''}")

    def cause(self) -> tuple[str, bool]:
        """Return in words of ours why a service has failed, and whether it refuses for good."""
        text = "\n".join(self.lines)
        if codes := re.findall(r"\berror=(\d{3})\b", text):
            code = int(codes[-1])
            return f"answered {code}", 400 <= code < 500 and code not in AGAIN
        return next((words for pattern, words in CAUSES if re.search(pattern, text)), "has not taken it"), False


def answer(request: DeliveryRequest) -> DeliveryAnswer:
    """Do what is wanted."""
    log = LogCollector()
    logging.basicConfig(level=logging.DEBUG, handlers=[log])
    try:
        from apprise import Apprise, AppriseAsset
    except Exception:  # a library that was made for another version of its own libraries may fail in any way
        return DeliveryAnswer(failure="Apprise cannot be loaded: pip install --upgrade apprise", refused=True, found="")
    # Without the mask, phones would fetch Apprise's icon from its own address.
    asset = AppriseAsset(app_id="htsat-edge", app_desc="htsat-edge", image_url_mask="", async_mode=False)
    service = Apprise.instantiate(request["url"], asset=asset, suppress_exceptions=True)
    if service is None:
        known = "is no address that Apprise knows, such as ntfys://TOPIC or mailto://user:password@example.org"
        return DeliveryAnswer(failure=known, refused=True, found="")
    name = str(service.service_name)
    if request["check"]:
        return reach(service, name, request["timeout_s"])
    service.socket_connect_timeout = service.socket_read_timeout = request["timeout_s"]
    service.request_rate_per_sec = 0  # pauses between the requests of one notification are within its time
    return notify(Apprise(service, asset=asset), request, log, name)


def notify(service: Any, request: DeliveryRequest, log: LogCollector, name: str) -> DeliveryAnswer:
    """Send a notification."""
    from apprise import AppriseAttachment, NotifyFormat
    from apprise.attachment.file import AttachFile

    attach_file: Any = AttachFile  # it has no types
    attached = None if request["clip"] is None else AppriseAttachment(attach_file(request["clip"]))
    done = service.notify(body=request["text"], title=request["title"], body_format=NotifyFormat.TEXT, attach=attached)
    if done:
        return DeliveryAnswer(failure=None, refused=False, found=name)
    words, refused = log.cause()
    return DeliveryAnswer(failure=words, refused=refused, found=name)


def reach(service: Any, name: str, timeout_s: float) -> DeliveryAnswer:
    """Open a connection to the host of a service, where it is known, and close it."""
    place = find_host(service)
    if place is None:
        return DeliveryAnswer(failure=None, refused=False, found=f"{name}, whose host is known only when it is used")
    try:
        socket.create_connection(place, timeout_s).close()
    except OSError as error:
        reason = error.strerror or str(error)
        return DeliveryAnswer(failure=f"{name}: {place[0]}:{place[1]}: {reason}", refused=False, found=name)
    return DeliveryAnswer(failure=None, refused=False, found=f"{name}, {place[0]} answers")


def find_host(service: Any) -> tuple[str, int] | None:
    """Return the host and port that a service of Apprise connects to; None where only its own code knows them."""
    secure = bool(getattr(service, "secure", False))
    if mail := getattr(service, "smtp_host", None):
        return str(mail), service.port or (465 if service.secure_mode == "ssl" else 587 if secure else 25)
    for fixed in ("cloud_notify_url", "notify_url"):  # ntfy has no host of its own where it is the public one
        url = getattr(service, fixed, None)
        own = fixed == "cloud_notify_url" and str(getattr(service, "mode", "")) != "cloud"
        if isinstance(url, str) and not own and (host := urlsplit(url).hostname):
            return host, urlsplit(url).port or (80 if url.startswith("http:") else 443)
    host = getattr(service, "host", None)
    return (str(host), service.port or (443 if secure else 80)) if host else None


def main() -> None:
    """Answer the request on stdin; what hangs is ended by the clock."""
    request: DeliveryRequest = json.load(sys.stdin)
    os.nice(NICE)
    printed, sys.stdout = sys.stdout, sys.stderr  # Apprise and its plugins print nothing into the answer
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # also what hangs in a library of C
    signal.setitimer(signal.ITIMER_REAL, request["timeout_s"])
    print(json.dumps(answer(request)), file=printed)


if __name__ == "__main__":
    main()
