"""The processes of the server: a supervisor, and workers that process the requests.

Each worker has its own socket on the same port, and the kernel distributes the connections among
the sockets; with a single socket, the first worker to wake up would accept all waiting connections.
The supervisor keeps the sockets open as well, so that no connection is lost when a worker crashes
and is restarted. It imports the libraries before it forks the workers, which then share their
memory.
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
SHUTDOWN_TIMEOUT_SECONDS = 25
"""How long requests may take after SIGTERM; SageMaker sends SIGKILL after 30."""
KEEP_ALIVE_SECONDS = 75
MIN_UPTIME_SECONDS = 5
"""A worker that exits sooner is restarted after one second instead of immediately."""
EXIT_INVALID_RELEASE = 2
"""The exit code of a worker that can't use the release."""


def serve(folder: Path, host: str, port: int, settings: ServingSettings) -> None:
    """Serve a release until SIGTERM or SIGINT.

    Raises:
        ReleaseError: The release can't be used.
        EndpointError: The address can't be bound.
    """
    release = load_release(folder)
    count = settings.workers or cpu_count()
    listeners = _bind(host, port, count)
    log_line(f"Serving {release.name} at http://{host}:{port} with {count} workers")
    _import_libraries()
    Supervisor(listeners, folder, settings).run()


class Supervisor:
    """Starts the workers, restarts those that crash, and stops them."""

    def __init__(
        self, listeners: list[socket.socket], folder: Path, settings: ServingSettings
    ) -> None:
        self._listeners, self._folder, self._settings = listeners, folder, settings
        self._workers: dict[int, tuple[socket.socket, float]] = {}
        """By process id: the socket, and when the worker was started."""
        self._stopping = False
        # Nothing is written to it: workers read end-of-file when this process has exited.
        self._supervisor_pipe = os.pipe()
        # Through this one a worker reports why it can't use the release.
        self._error_pipe = os.pipe()

    def run(self) -> None:
        """Start the workers; return when all have exited after SIGTERM or SIGINT."""
        signals = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        for listener in self._listeners:
            self._start_worker(listener)
        deadline = float("inf")
        while self._workers:
            timeout = min(1.0, max(0.0, deadline - time.monotonic()))
            info = signal.sigtimedwait(signals, timeout)
            if info and info.si_signo in {signal.SIGTERM, signal.SIGINT} and not self._stopping:
                self._stopping = True
                self._signal_workers(signal.SIGTERM)
                deadline = time.monotonic() + SHUTDOWN_TIMEOUT_SECONDS + 2
            if time.monotonic() > deadline:
                self._signal_workers(signal.SIGKILL)
            self._handle_exited_workers()

    def _start_worker(self, listener: socket.socket) -> None:
        pid = os.fork()
        if pid:
            self._workers[pid] = listener, time.monotonic()
            return
        exit_code = 1
        try:
            os.close(self._supervisor_pipe[1])
            os.close(self._error_pipe[0])
            # The terminal sends SIGINT to both; the supervisor forwards it as SIGTERM.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            for other in self._listeners:
                if other is not listener:
                    other.close()
            exit_code = _run_worker(
                listener, self._folder, self._settings, self._supervisor_pipe[0]
            )
        except ReleaseError as error:
            os.write(self._error_pipe[1], str(error).encode()[: select.PIPE_BUF])
            exit_code = EXIT_INVALID_RELEASE
        except BaseException:  # a child must never continue with its parent's code
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(exit_code)

    def _handle_exited_workers(self) -> None:
        for pid, (listener, started_at) in list(self._workers.items()):
            exited, status = os.waitpid(pid, os.WNOHANG)
            if not exited:
                continue
            del self._workers[pid]
            exit_code = os.waitstatus_to_exitcode(status)
            if self._stopping:
                continue
            if exit_code == EXIT_INVALID_RELEASE:
                reason = os.read(self._error_pipe[0], select.PIPE_BUF).decode(errors="replace")
                self._signal_workers(signal.SIGKILL)
                raise ReleaseError(reason)
            log_line(f"worker {pid} exited with code {exit_code}; restarting it")
            if time.monotonic() - started_at < MIN_UPTIME_SECONDS:
                time.sleep(1)
            self._start_worker(listener)

    def _signal_workers(self, number: signal.Signals) -> None:
        for pid in self._workers:
            os.kill(pid, number)


def _run_worker(
    listener: socket.socket, folder: Path, settings: ServingSettings, supervisor_pipe: int
) -> int:
    """Process requests until SIGTERM, or until the supervisor has exited."""
    import uvicorn  # noqa: PLC0415 - already imported by the supervisor, as is the app

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
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
        backlog=BACKLOG,
    )

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own handler would raise the signal again after the shutdown.
            yield

    server = Server(config)

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            server.should_exit = True
            loop.remove_reader(supervisor_pipe)

        loop.add_signal_handler(signal.SIGTERM, stop)
        loop.add_reader(supervisor_pipe, stop)
        loading = asyncio.ensure_future(app.load())
        loading.add_done_callback(lambda done: stop() if done.exception() else None)
        await server.serve([listener])
        if loading.done():
            loading.result()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(run())
    return 0


def _import_libraries() -> None:
    """Import what the workers need, once for all of them."""
    # numpy's threads for matrices would cost memory, and a process with threads can't be forked.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # onnxruntime sends telemetry from 1.29 on, unless this is set before it is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

    import uvicorn  # noqa: F401, PLC0415

    import serving.app  # noqa: F401, PLC0415

    gc.collect()
    gc.freeze()  # a collection would write to all memory pages, which are shared until then


def _bind(host: str, port: int, count: int) -> list[socket.socket]:
    """Return one listening socket per worker, or the same one where the system can't share a port.

    Raises:
        EndpointError: The address can't be bound.
    """
    share_port = sys.platform == "linux"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listeners: list[socket.socket] = []
    try:
        # Without SO_REUSEPORT first: with it, a port that another program uses would go unnoticed.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
        for _ in range(count if share_port else 1):
            listener = socket.socket(family)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if share_port:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, port))
            listener.listen(BACKLOG)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise EndpointError(f"can't listen on {host}:{port}: {error.strerror}") from None
    return listeners if share_port else listeners * count


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
