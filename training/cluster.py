"""The hosts of a training job, named as in SageMaker's resourceconfig.json.

Imports no third-party library.
"""

import re
from dataclasses import dataclass

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
"""Names of hosts, and resume ids, which become part of tags and of queries."""


@dataclass(frozen=True)
class HostTimeouts:
    """How hosts notice that another one is gone; the same on all hosts of a job. In seconds."""

    heartbeat: float = 10
    """The interval of heartbeats, and of reading those of the others."""
    heartbeat_timeout: float = 120
    """After how long without a heartbeat a host counts as dead.

    Longer than the longest wait between two retries of MLflow's client, 64 s in a job
    (`contract.process.JOB_RETRIES`): when the MLflow server is available again, a host may send its
    next heartbeat only after that wait. Shorter than
    `training.runs.run_lock.HEARTBEAT_TIMEOUT_SECONDS`: peers stop before another host can resume
    the run of a dead leader.
    """
    start: float = 600
    """How long hosts wait for each other at the start, while instances load images and tables."""

    @property
    def poll(self) -> float:
        """The interval in which a host looks whether the one that it waits for is done."""
        return min(self.heartbeat, 2.0)


@dataclass(frozen=True)
class Cluster:
    """The hosts that share a training; the first one, the leader, owns its parent run."""

    resume_id: str
    """The name of the first of the jobs that resume one another; empty if there is no job.

    A job with the same id takes over the run of an earlier one at once. SageMaker restarts a job
    under its own name, as after a spot interruption, and so with the same id.
    """
    hosts: tuple[str, ...]
    """`algo-1`, `algo-2`, ... in any order."""
    current_host: str
    timeouts: HostTimeouts = HostTimeouts()

    def __post_init__(self) -> None:
        has_job = bool(self.resume_id) or len(self.hosts) > 1
        names = [*self.hosts, *([self.resume_id] if has_job else [])]
        for name in names:
            if not NAME.fullmatch(name):
                raise ValueError(f"not a name of letters, digits and hyphens: {name!r}")
        if self.current_host not in self.hosts or len(set(self.hosts)) < len(self.hosts):
            raise ValueError(f"{self.current_host!r} must be one of different hosts: {self.hosts}")

    @property
    def leader(self) -> str:
        """The host that starts the parent run, and ranks the combinations."""
        return min(self.hosts)

    @property
    def is_leader(self) -> bool:
        """Whether the current host is the leader."""
        return self.current_host == self.leader

    @property
    def peers(self) -> tuple[str, ...]:
        """All hosts but the leader."""
        return tuple(sorted(set(self.hosts) - {self.leader}))


SINGLE_HOST = Cluster(resume_id="", hosts=("localhost",), current_host="localhost")
"""This machine alone, and no job."""
