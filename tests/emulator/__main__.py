"""Run the emulated account on a free port of 127.0.0.1 and print the port; stop on a signal."""

import os
import signal
from pathlib import Path
from threading import Thread

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from tests.emulator.calls import Calls
from tests.emulator.resources import add_resources
from tests.emulator.training_jobs import add_training_jobs


def main() -> None:
    folder = Path(os.environ["EMULATED_FOLDER"])
    app = Calls(DomainDispatcherApplication(create_backend_app), folder)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    address = f"http://127.0.0.1:{server.server_port}"
    add_resources(address)
    add_training_jobs(address, folder)
    Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
