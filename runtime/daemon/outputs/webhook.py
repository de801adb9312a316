"""Post each message to an HTTP endpoint, as JSON."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any

from htsat_edge.runtime.common.message import Message
from htsat_edge.runtime.daemon.config import WebhookConfig
from htsat_edge.runtime.daemon.outputs.sender import MessageSender, RefusedError

AGAIN = (408, 425, 429)
"""Answers to a request that may be accepted later, beside the server's own faults from 500 on."""


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, and carry the token elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none: they become errors."""


class Webhook(MessageSender):
    """Posts one message after the other; what the server refuses for good is lost, and counted."""

    batch = 1

    def __init__(self, settings: WebhookConfig) -> None:
        """Prepare to post to the URL of the settings."""
        super().__init__(f"webhook {urllib.parse.urlsplit(settings.url).hostname}")  # the rest is often a secret
        self._opener = urllib.request.build_opener(NoRedirects)
        self._settings = settings
        self._headers = {"Content-Type": "application/json", "User-Agent": "htsat-edge"}

    def start(self) -> None:
        """Begin; raise an HtsatEdgeError where the token is missing."""
        if self._settings.token is not None:
            self._headers["Authorization"] = f"Bearer {self._settings.token.read()}"
        super().start()

    def send(self, batch: Sequence[Message]) -> None:
        """Post a message."""
        (message,) = batch
        request = urllib.request.Request(self._settings.url, message.encoded.encode(), self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._settings.timeout_s) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in AGAIN:
                raise RefusedError(f"answered {error.code} {error.reason}") from None
            raise
