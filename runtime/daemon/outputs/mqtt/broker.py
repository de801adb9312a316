"""A client of an MQTT broker that connects for as long as it takes, and says in a line why it cannot."""

from __future__ import annotations

import ssl
import sys
import threading
import time
from typing import Any, NamedTuple

from htsat_edge.runtime.common.errors import HtsatEdgeError
from htsat_edge.runtime.common.libraries import needing
from htsat_edge.runtime.daemon.config.broker import BrokerConfig

RESTART_S = 10.0
"""After which paho's thread is started again, should it have ended."""
POLL_S = 0.05
LONGEST_RETRY_S = 30
UNREACHABLE = "the broker cannot be reached"


class Publication(NamedTuple):
    """What is to be published."""

    topic: str
    content: str
    retain: bool = True


class BrokerClient:
    """A connection that is made again whenever it is lost, in a thread of paho's."""

    def __init__(
        self,
        settings: BrokerConfig,
        client_id: str,
        key: str = "outputs.mqtt",
        *,
        clean_session: bool = True,
        manual_ack: bool = False,
        mqtt_5: bool = False,
    ) -> None:
        """Prepare to connect.

        Parameters
        ----------
        settings
            Where the broker is, and who asks.
        client_id
            A broker lets one client of an id take the other's place.
        key
            Of the section of the configuration, for messages.
        clean_session
            Whether the broker forgets this client when it is away.
        manual_ack
            Whether `paho.ack` confirms what comes, in place of paho.
        mqtt_5
            Whether to speak MQTT 5, which not every broker does, in place of 3.1.1; it always forgets this client.
        """
        with needing(key, "paho-mqtt", 'pip install "htsat-edge[mqtt]"'):
            import paho.mqtt.client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        self.settings, self._key = settings, key
        self.connected = threading.Event()
        self.connections = 0
        """How many there were."""
        self.session_present = False
        """Whether the broker had kept what came for this client, at the last connection."""
        self.fault = ""
        """Why there is no connection, where waiting does not mend it."""
        self._reason, self._running_s = UNREACHABLE, 0.0
        self.paho: Any = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if mqtt_5 else clean_session,  # MQTT 5 has no such flag
            protocol=paho.MQTTv5 if mqtt_5 else paho.MQTTv311,
            manual_ack=manual_ack,
        )
        self.paho.on_pre_connect = lambda *_: self.connected.clear()
        self.paho.on_connect, self.paho.on_connect_fail = self._on_connect, self._on_connect_fail
        self.paho.on_disconnect = self._on_disconnect
        self.paho.reconnect_delay_set(1, LONGEST_RETRY_S)

    @property
    def problem(self) -> str:
        """Why there is no connection."""
        return self.fault or self._reason

    def start(self) -> None:
        """Begin to connect; raise an HtsatEdgeError where the password or the certificates cannot be read."""
        settings = self.settings
        if settings.username is not None:
            self.paho.username_pw_set(settings.username, settings.password.read() if settings.password else None)
        if settings.tls:
            self._use_tls()
        self.paho.connect_async(settings.host, settings.port)
        self.keep_running()

    def keep_running(self) -> None:
        """Start paho's thread, again where an error that paho does not expect has ended it."""
        now = time.monotonic()
        if now >= self._running_s:
            self._running_s = now + RESTART_S
            self.paho.loop_start()  # which does nothing where it runs

    def await_connection(self, patience_s: float) -> None:
        """Wait for a connection; raise a ConnectionError that says why there is none."""
        end_s = time.monotonic() + patience_s
        while not self.connected.wait(POLL_S):
            self.keep_running()
            if self.fault or time.monotonic() > end_s:
                raise ConnectionError(self.problem)

    def check(self, patience_s: float) -> str:
        """Connect, publish nothing, and disconnect; raise an HtsatEdgeError where that fails."""
        self.paho.will_clear()
        self.start()
        try:
            self.await_connection(patience_s)
        except ConnectionError as error:
            raise HtsatEdgeError(f"mqtt {self.address}: {error}") from None
        finally:
            self.stop()
        return f"{self.address} accepts the connection"

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.settings.host}:{self.settings.port}"

    def stop(self) -> None:
        """Disconnect, and end paho's thread."""
        self.paho.disconnect()
        self.paho.loop_stop()

    def _use_tls(self) -> None:
        path = self.settings.ca_file
        try:
            self.paho.tls_set(None if path is None else str(path))
        except OSError as error:  # ssl's errors are such, too
            wrong = isinstance(error, ssl.SSLError)
            why = "holds no certificate (PEM)" if wrong else f"cannot be read: {error.strerror}"
            raise HtsatEdgeError(f"{self._key}.ca_file: {path}: {why}") from None

    # In paho's thread, which must not wait

    def _on_connect(self, _: Any, __: Any, flags: Any, reason: Any, ____: Any = None) -> None:
        if reason.is_failure:
            self.fault = f"the broker refuses: {reason}"
            return
        self.fault, self.session_present = "", flags.session_present
        self.connections += 1
        self.connected.set()

    def _on_disconnect(self, *_: Any) -> None:
        if not self.connected.is_set() and not self.fault:
            self.fault = "the broker closes the connection and does not answer" + (
                "" if self.settings.tls else f"; does port {self.settings.port} want tls?"
            )
        self.connected.clear()

    def _on_connect_fail(self, *_: Any) -> None:
        """Take note why there is no connection; paho calls this where it handles the error."""
        error = sys.exc_info()[1]
        self.fault = ""
        if isinstance(error, ssl.SSLCertVerificationError):
            self.fault = f"the broker's certificate is not trusted: {error.verify_message}"
            return
        cause = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        if self.settings.tls and isinstance(error, ssl.SSLError | ConnectionResetError):
            self.fault = f"TLS fails ({cause}); is {self.settings.port} its port for TLS?"
        else:
            self._reason = f"{UNREACHABLE}: {cause}" if cause else UNREACHABLE
