"""The server's processes: one that watches, and workers that answer.

Each worker has a socket of its own on the same port, between which the kernel shares out the
connections; on one socket the first to wake takes all that wait. The watcher holds them too, so
that none is lost with a worker that ends by itself and is replaced. It loads the libraries before
it makes the workers, whose memory they then have in common.
"""

import asyncio
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.errors import EndpointError, ReleaseError
from contract.release import load_release
from contract.settings.sections import ServingSettings
from serving.log import log_line

BACKLOG = 2048
GRACE_SECONDS = 25
"""How long requests may take once the end was asked for; SageMaker kills after 30."""
KEEP_ALIVE_SECONDS = 75
YOUNG_SECONDS = 5
"""A worker that ends sooner is replaced after a second, not at once."""
UNUSABLE = 2
"""A worker's exit code where the release can't be used."""


def serve(folder: Path, host: str, port: int, settings: ServingSettings) -> None:
    """Serve a release until SIGTERM or SIGINT.

    Raises:
        ReleaseError: It can't be used.
        EndpointError: The address can't be listened on.
    """
    release = load_release(folder)
    count = settings.workers or cpu_count()
    listeners = _listen(host, port, count)
    log_line(f"Serving {release.name} at http://{host}:{port} with {count} processes")
    _load_libraries()
    Supervisor(listeners, folder, settings).watch()


class Supervisor:
    """Keeps the workers alive, and ends them."""

    def __init__(
        self, listeners: list[socket.socket], folder: Path, settings: ServingSettings
    ) -> None:
        self._listeners, self._folder, self._settings = listeners, folder, settings
        self._workers: dict[int, tuple[socket.socket, float]] = {}
        self._ending = False
        # Whoever holds its other end knows that this process lives; what can't be used is told
        # through the second one.
        self._alive = os.pipe()
        self._reason = os.pipe()

    def watch(self) -> None:
        """Start the workers; return when all have ended because they were asked to."""
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for listener in self._listeners:
            self._start(listener)
        deadline = float("inf")
        while self._workers:
            patience = min(1.0, max(0.0, deadline - time.monotonic()))
            info = signal.sigtimedwait(signals, patience)
            if info and info.si_signo in {signal.SIGTERM, signal.SIGINT} and not self._ending:
                self._end()
                deadline = time.monotonic() + GRACE_SECONDS + 2
            if time.monotonic() > deadline:
                self._kill(signal.SIGKILL)
            self._reap()

    def _start(self, listener: socket.socket) -> None:
        worker = os.fork()
        if worker:
            self._workers[worker] = listener, time.monotonic()
            return
        code = 1
        try:
            os.close(self._alive[1])
            os.close(self._reason[0])
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the watcher's, who passes it on
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            for other in self._listeners:
                if other is not listener:
                    other.close()
            code = _work(listener, self._folder, self._settings, self._alive[0])
        except ReleaseError as error:
            os.write(self._reason[1], str(error).encode()[: select.PIPE_BUF])
            code = UNUSABLE
        except BaseException:  # whatever it is, a child must not go on as its parent
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _reap(self) -> None:
        for worker, (listener, began) in list(self._workers.items()):
            ended, status = os.waitpid(worker, os.WNOHANG)
            if not ended:
                continue
            del self._workers[worker]
            code = os.waitstatus_to_exitcode(status)
            if self._ending:
                continue
            if code == UNUSABLE:
                reason = os.read(self._reason[0], select.PIPE_BUF).decode(errors="replace")
                self._kill(signal.SIGKILL)
                raise ReleaseError(reason)
            log_line(f"A worker ended with code {code}; it is replaced")
            if time.monotonic() - began < YOUNG_SECONDS:
                time.sleep(1)
            self._start(listener)

    def _end(self) -> None:
        self._ending = True
        self._kill(signal.SIGTERM)

    def _kill(self, number: signal.Signals) -> None:
        for worker in self._workers:
            os.kill(worker, number)


def _work(listener: socket.socket, folder: Path, settings: ServingSettings, alive: int) -> int:
    """Answer requests until SIGTERM, or until the watcher is gone."""
    import uvicorn  # noqa: PLC0415 - loaded by now, as the next one

    from serving.app import App  # noqa: PLC0415

    app = App(folder, settings, cpu_count())
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
    )

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own would in the end raise again the signal that it was ended with.
            yield

    server = Server(config)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def end() -> None:
            server.should_exit = True
            loop.remove_reader(alive)

        loop.add_signal_handler(signal.SIGTERM, end)
        loop.add_reader(alive, end)
        loading = asyncio.ensure_future(app.load())
        loading.add_done_callback(lambda done: end() if done.exception() else None)
        await server.serve([listener])
        if loading.done():
            loading.result()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())
    return 0


def _load_libraries() -> None:
    """Load what the workers need, once for all of them."""
    # numpy's threads for matrices would cost memory, and a process with threads can't be copied.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    import serving.app  # noqa: PLC0415
    import serving.codecs  # noqa: PLC0415
    import serving.model  # noqa: F401, PLC0415

    gc.collect()
    gc.freeze()  # the collector would write to each of their pages, which are shared until then


def _listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Return as many sockets on one port, or the same one where the system can't share out."""
    shared_out = sys.platform == "linux"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listeners: list[socket.socket] = []
    try:
        # Alone at first: who shares a port can't tell whether another program has it.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        for _ in range(count if shared_out else 1):
            listener = socket.socket(family)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if shared_out:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, port))
            listener.listen(BACKLOG)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise EndpointError(f"can't listen on {host}:{port}: {error.strerror}") from None
    return listeners if shared_out else listeners * count


def cpu_count() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
