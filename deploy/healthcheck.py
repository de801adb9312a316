"""Print what /healthz says, and end with 1 where the daemon is not well: the image's HEALTHCHECK."""

import http.client
import sys

MOST = 4096
"""Docker keeps no more of what is printed."""


def main(port: str = "9464") -> int:
    """Ask the daemon of this container; a proxy of the environment has no part in it."""
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        print(f"{port!r} is not a port, which is a number from 1 to 65535")
        return 1
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=8)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        print(answer.read(MOST).decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from 127.0.0.1:{port}/healthz: {error}; has the configuration outputs.metrics?")
        return 1
    return 0 if answer.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # whatever the container's locale can print
    sys.exit(main(*sys.argv[1:2]))
