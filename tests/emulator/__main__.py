"""Run the emulated account on a free port of 127.0.0.1 and print the port; stop on a signal."""

import signal

from moto.server import ThreadedMotoServer

from tests.emulator.resources import add_resources


def main() -> None:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    add_resources(f"http://{host}:{port}")
    print(port, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
