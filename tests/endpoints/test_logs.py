"""The logs of the local endpoint have a bounded size, however long a server runs."""

from pathlib import Path

from tests.endpoints.helpers import Project, request_body
from tests.helpers import wait_until

MIB = 2**20


def fill(log: Path) -> int:
    """Append 11 MiB of numbered lines to a log, as requests do over time; return their number."""
    lines = 11 * MIB // 64
    content = b"".join(b"request %-55d\n" % number for number in range(lines))
    with log.open("ab", buffering=0) as file:  # in one step, so that no rotation comes in between
        file.write(content)
    return lines


def test_logs_of_running_servers_and_of_the_router_are_truncated(deployed_twice: Project) -> None:
    state = deployed_twice.state()
    logs = [deployed_twice.endpoints_folder / "router.log"]
    logs += [deployed_twice.endpoint_folder / state[role]["id"] / "log" for role in state]
    lines = [fill(log) for log in logs]

    wait_until(lambda: all(log.stat().st_size < MIB for log in logs))

    for log, number in zip(logs, lines, strict=True):
        backup = log.with_name(f"{log.name}.1")
        assert 9 * MIB < backup.stat().st_size <= 10 * MIB
        kept = backup.read_text().splitlines()
        assert kept[0].startswith("request ")
        assert kept[-1].split() == ["request", str(number - 1)]
    # The server continues at the start of the file, without a hole before its line.
    deployed_twice.client().invoke_endpoint(
        EndpointName="prod-endpoint",
        Body=request_body(deployed_twice.live_check()),
        ContentType="application/json",
        InferenceId="after",
    )
    live = logs[1 + list(state).index("live")]
    wait_until(lambda: b'"after"' in live.read_bytes())
    assert b"\0" not in live.read_bytes()
