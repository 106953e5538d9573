"""One host of a training job, as a process: `python -m tests.durability.host --help`.

It prints its progress, and the leader writes its result to `result.json` beside settings.toml.
"""

import json

from contract.settings.loader import load_settings
from scripts.console import main
from scripts.progress import show_progress
from tests.durability import slow_ridge
from training.cluster import Cluster, HostTimeouts
from training.search.worker import Worker
from training.train import train, train_share


def command(
    current_host: str,
    hosts: int,
    resume_id: str,
    heartbeat_timeout: float = 60.0,
    force: bool = False,
) -> None:
    """Train this host's share."""
    slow_ridge.replace_ridge()
    settings = load_settings()
    names = tuple(f"algo-{number}" for number in range(1, hosts + 1))
    timeouts = HostTimeouts(heartbeat=0.5, heartbeat_timeout=heartbeat_timeout, start=100)
    cluster = Cluster(resume_id, names, current_host, timeouts)
    with Worker() as worker, show_progress(settings.training.metric) as progress:
        if cluster.is_leader:
            result = train(settings, progress, worker, force, cluster)
            (settings.root / "result.json").write_text(json.dumps(result.as_json()))
        else:
            train_share(settings, progress, worker, cluster)


if __name__ == "__main__":
    main(command)
