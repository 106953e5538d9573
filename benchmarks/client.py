"""A client with little overhead, the same for every server: it sends requests as ready bytes."""

import asyncio
import time
from dataclasses import dataclass, field

from benchmarks.measure import BenchmarkError

HOST = "127.0.0.1"


@dataclass
class Load:
    """The results of a series of requests."""

    seconds: float = 0.0
    """From the first request to the last response."""
    latencies: list[float] = field(default_factory=list)
    """Seconds, of each request with status 200."""
    errors: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies, in seconds; 0.5 is the median."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def build_request(port: int, path: str, body: bytes) -> bytes:
    """Return the bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def send_load(
    port: int, request: bytes, seconds: float, connections: int = 1, minimum: int = 1
) -> Load:
    """Send a request repeatedly; each connection waits for the response before the next one.

    Args:
        port: The port of a server on this machine.
        request: The bytes of the request.
        seconds: The duration of the load.
        connections: The number of concurrent connections.
        minimum: The least number of requests per connection, even if they take longer.

    Raises:
        BenchmarkError: No response had status 200.
    """
    load = Load()

    async def send_on_all_connections() -> None:
        start = time.perf_counter()
        end = start + seconds
        await asyncio.gather(
            *(_send_until(port, request, end, minimum, load) for _ in range(connections))
        )
        load.seconds = time.perf_counter() - start

    asyncio.run(send_on_all_connections())
    if not load.latencies:
        raise BenchmarkError(f"no response with status 200: {(load.errors or ['no response'])[0]}")
    return load


def send_one(port: int, path: str, body: bytes) -> bytes:
    """Send one request and return the response's body.

    Raises:
        BenchmarkError: The status isn't 200.
    """

    async def send() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(HOST, port, limit=2**26)
        writer.write(build_request(port, path, body))
        response = await _read_response(reader)
        writer.close()
        return response

    status, content = asyncio.run(send())
    if status != 200:
        raise BenchmarkError(f"{path}: {status}: {content[:200]!r}")
    return content


async def _send_until(port: int, request: bytes, end: float, minimum: int, load: Load) -> None:
    reader, writer = await asyncio.open_connection(HOST, port, limit=2**26)
    sent = 0
    while sent < minimum or time.perf_counter() < end:
        start = time.perf_counter()
        writer.write(request)
        try:
            status, body = await _read_response(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            load.errors.append(type(error).__name__)
            break
        sent += 1
        if status == 200:
            load.latencies.append(time.perf_counter() - start)
        else:
            load.errors.append(f"{status}: {body[:200]!r}")
    writer.close()


async def _read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return int(head[9:12]), await reader.readexactly(length)
