"""A stand-in for AWS's session-manager-plugin, which no package registry distributes.

It is called as the AWS CLI calls the real one, and it really forwards a port. EMULATED_HOSTS maps
the hosts of the emulated account to addresses on this machine.
"""

import json
import os
import socket
import sys
import threading
from typing import NoReturn

RESPONSE = "AWS_SSM_START_SESSION_RESPONSE"


def main(arguments: list[str]) -> int:
    variable, _region, operation, _profile, request, _endpoint = arguments
    if variable != RESPONSE or operation != "StartSession":
        print(f"Invalid input: {variable} {operation}")
        return 255
    session = json.loads(os.environ[RESPONSE])
    if not session["StreamUrl"].endswith(session["SessionId"]) or not session["TokenValue"]:
        print("Cannot perform start session: no data channel")
        return 1
    parameters = json.loads(request)["Parameters"]
    hosts = json.loads(os.environ["EMULATED_HOSTS"])
    remote = f"{parameters['host'][0]}:{parameters['portNumber'][0]}"
    if remote not in hosts:
        print(f"Connection to destination port failed, check SSH agent logs: {remote}")
        return 1
    local_port = int(parameters["localPortNumber"][0])
    print(f"Port {local_port} opened for sessionId {session['SessionId']}.", flush=True)
    return _forward(local_port, hosts[remote])


def _forward(local_port: int, address: str) -> NoReturn:
    """Forward connections to an address until the process is stopped."""
    host, _, port = address.partition(":")
    with socket.create_server(("127.0.0.1", local_port)) as server:
        while True:
            inbound, _ = server.accept()
            outbound = socket.create_connection((host, int(port)))
            for source, sink in ((inbound, outbound), (outbound, inbound)):
                threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
