"""A client that costs little, the same for every server: requests that are bytes already."""

import asyncio
import time
from dataclasses import dataclass, field

from benchmarks.measure import BenchmarkError

HOST = "127.0.0.1"


@dataclass
class Load:
    """What came of some requests."""

    seconds: float = 0.0
    """From the first to the last."""
    latencies: list[float] = field(default_factory=list)
    """Seconds, of each that was answered with 200."""
    errors: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def at(self, share: float) -> float:
        """Return the latency that this share of the requests didn't exceed, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def request(port: int, path: str, body: bytes) -> bytes:
    """Return a request as it is sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def send(port: int, content: bytes, seconds: float, connections: int = 1, least: int = 1) -> Load:
    """Send a request again and again, the next one on a connection once the last is answered.

    Args:
        port: Of a server on this machine.
        content: The request.
        seconds: For how long.
        connections: How many at once, each kept open.
        least: How many requests a connection, however long they take.

    Raises:
        BenchmarkError: None was answered.
    """
    load = Load()

    async def drive() -> None:
        began = time.perf_counter()
        clients = [_drive(port, content, began + seconds, least, load) for _ in range(connections)]
        await asyncio.gather(*clients)
        load.seconds = time.perf_counter() - began

    asyncio.run(drive())
    if not load.latencies:
        raise BenchmarkError(f"no answer: {(load.errors or ['nothing came'])[0]}")
    return load


def ask(port: int, path: str, body: bytes) -> bytes:
    """Send one request and return the answer's body.

    Raises:
        BenchmarkError: It isn't 200.
    """

    async def once() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(HOST, port, limit=2**26)
        writer.write(request(port, path, body))
        answer = await _read(reader)
        writer.close()
        return answer

    status, content = asyncio.run(once())
    if status != 200:
        raise BenchmarkError(f"{path}: {status}: {content[:200]!r}")
    return content


async def _drive(port: int, content: bytes, until: float, least: int, load: Load) -> None:
    reader, writer = await asyncio.open_connection(HOST, port, limit=2**26)
    sent = 0
    while sent < least or time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(content)
        try:
            status, answer = await _read(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            load.errors.append(type(error).__name__)
            break
        sent += 1
        if status == 200:
            load.latencies.append(time.perf_counter() - began)
        else:
            load.errors.append(f"{status}: {answer[:200]!r}")
    writer.close()


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return int(head[9:12]), await reader.readexactly(length)
