"""Print what /healthz says, and end with 1 where the daemon is not well: the image's HEALTHCHECK."""

import http.client
import sys


def main(port: int = 9464) -> int:
    """Ask the daemon of this container; a proxy of the environment has no part in it."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=8)
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        print(answer.read().decode())
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer from 127.0.0.1:{port}/healthz: {error}; has the configuration outputs.metrics?")
        return 1
    return 0 if answer.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
