"""The server's processes: one that watches, and workers that answer.

The workers share a socket that was bound before they were made. A worker that ends by itself is
replaced; a release that can't be loaded ends them all.
"""

import asyncio
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
from contract.release import read_release
from contract.settings import ServingSettings
from serving.log import write_line

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
    release = read_release(folder)
    with _listen(host, port) as listener:
        count = settings.workers or _processors()
        write_line(f"Serving {release.name} at http://{host}:{port} with {count} processes")
        _Watcher(listener, folder, settings, count).watch()


class _Watcher:
    """Keeps the workers alive, and ends them."""

    def __init__(
        self, listener: socket.socket, folder: Path, settings: ServingSettings, count: int
    ) -> None:
        self._listener, self._folder, self._settings = listener, folder, settings
        self._count = count
        self._workers: dict[int, float] = {}
        self._ending = False
        # Whoever holds its other end knows that this process lives; what can't be used is told
        # through the second one.
        self._alive = os.pipe()
        self._reason = os.pipe()

    def watch(self) -> None:
        """Start the workers; return when all have ended because they were asked to."""
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for _ in range(self._count):
            self._start()
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

    def _start(self) -> None:
        worker = os.fork()
        if worker:
            self._workers[worker] = time.monotonic()
            return
        code = 1
        try:
            os.close(self._alive[1])
            os.close(self._reason[0])
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the watcher's, who passes it on
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            code = _work(self._listener, self._folder, self._settings, self._alive[0])
        except ReleaseError as error:
            os.write(self._reason[1], str(error).encode()[: select.PIPE_BUF])
            code = UNUSABLE
        except BaseException:  # whatever it is, a child must not go on as its parent
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _reap(self) -> None:
        for worker, began in list(self._workers.items()):
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
            write_line(f"A worker ended with code {code}; it is replaced")
            if time.monotonic() - began < YOUNG_SECONDS:
                time.sleep(1)
            self._start()

    def _end(self) -> None:
        self._ending = True
        self._kill(signal.SIGTERM)

    def _kill(self, number: signal.Signals) -> None:
        for worker in self._workers:
            os.kill(worker, number)


def _work(listener: socket.socket, folder: Path, settings: ServingSettings, alive: int) -> int:
    """Answer requests until SIGTERM, or until the watcher is gone."""
    # numpy's threads for matrices, which are never multiplied by it here, would cost memory.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import uvicorn  # noqa: PLC0415 - by the workers alone, all at the same time

    from serving.app import App  # noqa: PLC0415

    app = App(folder, settings)
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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise EndpointError(f"can't listen on {host}:{port}: {error.strerror}") from None
    listener.set_inheritable(True)
    return listener


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
