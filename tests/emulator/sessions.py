"""ECS Exec and Session Manager, as far as a forwarded port needs them.

- A task that was run with ECS Exec has an agent, which is not there at once: `managedAgents` of
  its container tells (AmazonECS/latest/APIReference/API_ManagedAgent.html).
- `ecs:<cluster>_<task>_<runtime id>` is such a task as a session's target, and a session can only
  be had of one whose agent runs (APIReference/API_StartSession.html: TargetNotConnected).
- A document has parameters, all of them lists of texts (the same page).
- A session is active until it is terminated (API_TerminateSession.html, API_DescribeSessions.html).
"""

import secrets
import time
from typing import Any

from moto.core.responses import ActionResult
from moto.ecs.models import Container, ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.ssm.exceptions import SSMException
from moto.ssm.responses import SimpleSystemManagerResponse

AGENT_SECONDS = 1.5
DOCUMENTS = {
    "AWS-StartPortForwardingSessionToRemoteHost": {"host", "portNumber", "localPortNumber"},
}
RUN_TASK = EC2ContainerServiceResponse.run_task
SESSIONS: dict[str, dict[str, Any]] = {}


def add_sessions() -> None:
    """Make them part of moto."""
    added: list[tuple[type, str, Any]] = [
        (EC2ContainerServiceResponse, "run_task", _run_task),
        (Container, "managed_agents", property(_managed_agents)),
        (SimpleSystemManagerResponse, "start_session", _start_session),
        (SimpleSystemManagerResponse, "terminate_session", _terminate_session),
        (SimpleSystemManagerResponse, "describe_sessions", _describe_sessions),
    ]
    for owner, name, value in added:
        setattr(owner, name, value)


def _run_task(response: Any) -> Any:
    answer: Any = RUN_TASK(response)
    if response._get_param("enableExecuteCommand"):
        for task in answer.result["tasks"]:
            task.enable_execute_command = True
            for container in task.containers:
                container.runtime_id = f"{task.id.replace('-', '')}-{secrets.randbelow(10**9)}"
                container.agent_from = time.monotonic() + AGENT_SECONDS
    return answer


def _managed_agents(container: Any) -> list[dict[str, str]]:
    if not hasattr(container, "agent_from"):
        return []
    there = time.monotonic() > container.agent_from
    return [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING" if there else "PENDING"}]


def _start_session(response: Any) -> ActionResult:
    target, document = response._get_param("Target"), response._get_param("DocumentName")
    parameters = response._get_param("Parameters") or {}
    _refuse_unconnected(response, target)
    if document not in DOCUMENTS:
        raise SSMException("InvalidDocument", f"Document with name {document} does not exist.")
    if set(parameters) != DOCUMENTS[document] or not all(
        isinstance(value, list) for value in parameters.values()
    ):
        raise SSMException("InvalidParameters", f"{document}: {sorted(parameters)}")
    name = f"somebody-{secrets.token_hex(8)}"
    SESSIONS[name] = {
        "SessionId": name,
        "TokenValue": secrets.token_hex(16),
        "StreamUrl": f"wss://ssmmessages.{response.region}.amazonaws.com/v1/data-channel/{name}",
        "Status": "Connected",
        "Target": target,
        "DocumentName": document,
    }
    keys = ("SessionId", "TokenValue", "StreamUrl")
    return ActionResult({key: SESSIONS[name][key] for key in keys})


def _refuse_unconnected(response: Any, target: str) -> None:
    backend: Any = ecs_backends[response.current_account][response.region]
    connected = {
        f"ecs:{cluster}_{task.id}_{container.runtime_id}"
        for cluster, tasks in backend.tasks.items()
        for task in tasks.values()
        for container in task.containers
        if task.last_status == "RUNNING"
        and [agent["lastStatus"] for agent in container.managed_agents] == ["RUNNING"]
    }
    if target not in connected:
        raise SSMException("TargetNotConnected", f"{target} is not connected.")


def _terminate_session(response: Any) -> ActionResult:
    name = response._get_param("SessionId")
    if name in SESSIONS:
        SESSIONS[name]["Status"] = "Terminated"
    return ActionResult({"SessionId": name})


def _describe_sessions(response: Any) -> ActionResult:
    ended = response._get_param("State") == "History"
    found = [one for one in SESSIONS.values() if (one["Status"] == "Terminated") is ended]
    keys = ("SessionId", "Target", "Status", "DocumentName")
    return ActionResult({"Sessions": [{key: one[key] for key in keys} for one in found]})
