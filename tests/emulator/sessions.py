"""ECS Exec and Session Manager, as far as port forwarding needs them.

- A task that was started with ECS Exec runs an agent, which needs some time to start. Its status
  is in `managedAgents` of the container (AmazonECS/latest/APIReference/API_ManagedAgent.html).
- `ecs:<cluster>_<task>_<runtime id>` is the target of a session to such a task. The agent has to
  be running (APIReference/API_StartSession.html: TargetNotConnected).
- A document has parameters, all of them lists of strings (the same page).
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

AGENT_START_SECONDS = 1.5
DOCUMENTS = {
    "AWS-StartPortForwardingSessionToRemoteHost": {"host", "portNumber", "localPortNumber"},
}
RUN_TASK = EC2ContainerServiceResponse.run_task
SESSIONS: dict[str, dict[str, Any]] = {}


def add_sessions() -> None:
    """Add the operations to moto."""
    patches: list[tuple[type, str, Any]] = [
        (EC2ContainerServiceResponse, "run_task", _run_task),
        (Container, "managed_agents", property(_managed_agents)),
        (SimpleSystemManagerResponse, "start_session", _start_session),
        (SimpleSystemManagerResponse, "terminate_session", _terminate_session),
        (SimpleSystemManagerResponse, "describe_sessions", _describe_sessions),
    ]
    for owner, name, value in patches:
        setattr(owner, name, value)


def _run_task(request: Any) -> Any:
    response: Any = RUN_TASK(request)
    if request._get_param("enableExecuteCommand"):
        for task in response.result["tasks"]:
            task.enable_execute_command = True
            for container in task.containers:
                container.runtime_id = f"{task.id.replace('-', '')}-{secrets.randbelow(10**9)}"
                container.agent_started_at = time.monotonic() + AGENT_START_SECONDS
    return response


def _managed_agents(container: Any) -> list[dict[str, str]]:
    if not hasattr(container, "agent_started_at"):
        return []
    running = time.monotonic() > container.agent_started_at
    return [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING" if running else "PENDING"}]


def _start_session(request: Any) -> ActionResult:
    target, document = request._get_param("Target"), request._get_param("DocumentName")
    parameters = request._get_param("Parameters") or {}
    _require_connected(request, target)
    if document not in DOCUMENTS:
        raise SSMException("InvalidDocument", f"Document with name {document} does not exist.")
    if set(parameters) != DOCUMENTS[document] or not all(
        isinstance(value, list) for value in parameters.values()
    ):
        raise SSMException("InvalidParameters", f"{document}: {sorted(parameters)}")
    session_id = f"user-{secrets.token_hex(8)}"
    stream = f"wss://ssmmessages.{request.region}.amazonaws.com/v1/data-channel/{session_id}"
    SESSIONS[session_id] = {
        "SessionId": session_id,
        "TokenValue": secrets.token_hex(16),
        "StreamUrl": stream,
        "Status": "Connected",
        "Target": target,
        "DocumentName": document,
    }
    keys = ("SessionId", "TokenValue", "StreamUrl")
    return ActionResult({key: SESSIONS[session_id][key] for key in keys})


def _require_connected(request: Any, target: str) -> None:
    backend: Any = ecs_backends[request.current_account][request.region]
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


def _terminate_session(request: Any) -> ActionResult:
    session_id = request._get_param("SessionId")
    if session_id in SESSIONS:
        SESSIONS[session_id]["Status"] = "Terminated"
    return ActionResult({"SessionId": session_id})


def _describe_sessions(request: Any) -> ActionResult:
    terminated = request._get_param("State") == "History"
    sessions = [
        session
        for session in SESSIONS.values()
        if (session["Status"] == "Terminated") is terminated
    ]
    keys = ("SessionId", "Target", "Status", "DocumentName")
    return ActionResult({"Sessions": [{key: session[key] for key in keys} for session in sessions]})
