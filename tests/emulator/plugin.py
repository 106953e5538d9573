"""Stands in for AWS's session-manager-plugin, which no package registry has.

It is called as the AWS CLI calls the real one, and really forwards a port: to where a host of the
emulated account is on this machine, as EMULATED_HOSTS says.
"""

import json
import os
import socket
import sys
import threading

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
    wish = json.loads(request)["Parameters"]
    hosts = json.loads(os.environ["EMULATED_HOSTS"])
    target = f"{wish['host'][0]}:{wish['portNumber'][0]}"
    if target not in hosts:
        print(f"Connection to destination port failed, check SSH agent logs: {target}")
        return 1
    host, _, port = hosts[target].partition(":")
    local = int(wish["localPortNumber"][0])
    print(f"Port {local} opened for sessionId {session['SessionId']}.", flush=True)
    with socket.create_server(("127.0.0.1", local)) as server:
        while True:
            inward, _ = server.accept()
            outward = socket.create_connection((host, int(port)))
            for one, other in ((inward, outward), (outward, inward)):
                threading.Thread(target=_carry, args=(one, other), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        sink.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
