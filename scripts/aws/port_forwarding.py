"""A port of this machine that leads to a stage's MLflow, by a task that is there meanwhile."""

import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from contract.errors import InfraError
from contract.names import (
    BASTION_STARTED_BY,
    NO_IMAGE,
    PORT_FORWARDING_DOCUMENT,
    StackName,
    StackOutput,
)
from endpoints.ports import HOST
from scripts.aws.account import Account, errors
from scripts.local.mlflow_server import require_free_port

logger = logging.getLogger(__name__)

PLUGIN = "session-manager-plugin"
"""AWS's own, which speaks Session Manager's protocol. It is told what to do as the AWS CLI tells
it: by the answer to StartSession, whose token it takes from a variable, where no other process
reads it (from version 1.2.498 on; awscli/customizations/sessionmanager.py). AWS asks for 1.2.764.
"""
RESPONSE = "AWS_SSM_START_SESSION_RESPONSE"
START_SECONDS, ANSWER_SECONDS = 300, 30
Json = dict[str, Any]


@dataclass(frozen=True)
class Forwarded:
    """Where a stage's MLflow is meanwhile."""

    address: str
    """On this machine, as a URI."""
    pool: HTTPConnectionPool
    """Asks it. Where there is a certificate, it is held against the name that it is for."""
    wait: Callable[[], NoReturn]
    """Returns never; raises an InfraError when AWS ends the session, as it does an idle one."""


@contextmanager
def forwarded(account: Account, port: int) -> Iterator[Forwarded]:
    """Lead a port of this machine's to a stage's MLflow; what was started for it is ended after.

    Args:
        account: Of the stage.
        port: On this machine's 127.0.0.1.

    Raises:
        StackError: The plugin is missing, the port is in use, MLflow isn't deployed or doesn't
            answer, or AWS refuses.
    """
    plugin = _find_plugin()
    require_free_port(port)
    outputs = account.outputs(StackName.BASE) | account.outputs(StackName.MLFLOW)
    if account.tracking_image() == NO_IMAGE:
        raise InfraError(
            f"MLflow of {account.stage.prefix} runs nothing yet: `make deploy` pushes its image"
        )
    scheme, _, host = outputs[StackOutput.MLFLOW_URI].partition("://")
    address, pool = f"{scheme}://{HOST}:{port}", _pool(scheme, host, port)
    with (
        _task(account, outputs) as task,
        _session(account, _session_request(scheme, host, task, port)) as (arguments, response),
        _plugin([plugin, *arguments], response) as (process, log),
    ):
        _wait_for_answer(pool, process, log)
        yield Forwarded(address, pool, partial(_wait_for_end, process, log))


def _pool(scheme: str, host: str, port: int) -> HTTPConnectionPool:
    if scheme == "http":
        return HTTPConnectionPool(HOST, port)
    own = {"Host": host}
    return HTTPSConnectionPool(HOST, port, headers=own, server_hostname=host, assert_hostname=host)


def _find_plugin() -> str:
    found = shutil.which(PLUGIN)
    if not found:
        raise InfraError(
            f"{PLUGIN} is not installed: AWS's plugin forwards the port; how to get it: "
            "https://docs.aws.amazon.com/systems-manager/latest/userguide/"
            "session-manager-working-with-install-plugin.html"
        )
    return found


@contextmanager
def _task(account: Account, outputs: dict[StackOutput, str]) -> Iterator[Json]:
    """Run the task that is forwarded through, until the end of the block."""
    ecs, cluster = account.client("ecs"), outputs[StackOutput.MLFLOW_CLUSTER]
    logger.info("Starting a task to forward through (about a minute) ...")
    with errors("the forwarding task"):
        answer = ecs.run_task(
            cluster=cluster,
            taskDefinition=outputs[StackOutput.BASTION_TASK],
            launchType="FARGATE",
            enableExecuteCommand=True,
            propagateTags="TASK_DEFINITION",
            startedBy=BASTION_STARTED_BY,
            networkConfiguration={
                "awsvpcConfiguration": {
                    "subnets": outputs[StackOutput.PRIVATE_SUBNETS].split(","),
                    "securityGroups": [outputs[StackOutput.BASTION_SECURITY_GROUP]],
                    "assignPublicIp": "DISABLED",
                }
            },
        )
    if failures := answer.get("failures"):
        raise InfraError(f"the forwarding task: {failures[0].get('reason', 'not started')}")
    name = answer["tasks"][0]["taskArn"]
    try:
        yield _wait_for_agent(ecs, cluster, name)
    finally:
        with errors("the forwarding task can't be stopped, and ends by itself after 8 hours"):
            ecs.stop_task(cluster=cluster, task=name, reason="nobody forwards any more")
        logger.info("Stopped the task")


def _wait_for_agent(ecs: Any, cluster: str, name: str) -> Json:  # noqa: ANN401 - boto3's
    """Return the task when Session Manager's agent in it is there."""
    deadline, shown = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < deadline:
        with errors("the forwarding task"):
            found = ecs.describe_tasks(cluster=cluster, tasks=[name])["tasks"]
        task: Json = found[0] if found else {}  # not known everywhere in its first moments
        status = task.get("lastStatus", "PROVISIONING")
        if status in {"DEPROVISIONING", "STOPPED"}:
            raise InfraError(f"the forwarding task has ended: {task.get('stoppedReason')}")
        agents = [
            agent.get("lastStatus")
            for container in task.get("containers", [])
            for agent in container.get("managedAgents", [])
        ]
        if status == "RUNNING" and agents == ["RUNNING"]:
            return task
        if status != shown:
            logger.info(f"  {status.lower()}")
            shown = status
        time.sleep(1)
    raise InfraError(f"the forwarding task was not ready within {START_SECONDS} s")


def _session_request(scheme: str, host: str, task: Json, port: int) -> Json:
    """Return what StartSession is asked, and the plugin told: which host, through which task."""
    cluster, _, task_id = task["taskArn"].rpartition("/")
    (container,) = task["containers"]
    return {
        "Target": f"ecs:{cluster.rpartition('/')[2]}_{task_id}_{container['runtimeId']}",
        "DocumentName": PORT_FORWARDING_DOCUMENT,
        "Parameters": {
            "host": [host],
            "portNumber": ["443" if scheme == "https" else "80"],
            "localPortNumber": [str(port)],
        },
    }


@contextmanager
def _session(account: Account, request: Json) -> Iterator[tuple[list[str], str]]:
    """Start a session; yield the plugin's command line, and what it takes from RESPONSE."""
    ssm = account.client("ssm")
    with errors("Session Manager"):
        session: Json = ssm.start_session(**request)
    try:
        answer = {key: session[key] for key in ("SessionId", "TokenValue", "StreamUrl")}
        yield _plugin_arguments(account, request), json.dumps(answer)
    finally:
        try:
            ssm.terminate_session(SessionId=session["SessionId"])
        except (BotoCoreError, ClientError) as error:  # it ends with its task as well
            logger.info(f"Session Manager: {error}")


def _plugin_arguments(account: Account, request: Json) -> list[str]:
    profile, endpoint = os.environ.get("AWS_PROFILE", ""), account.client("ssm").meta.endpoint_url
    return [RESPONSE, account.stage.region, "StartSession", profile, json.dumps(request), endpoint]


@contextmanager
def _plugin(
    command: list[str], response: str
) -> Iterator[tuple["subprocess.Popen[bytes]", IO[str]]]:
    """Run the plugin; yield its process, and what it says."""
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, RESPONSE: response},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for this process, which then ends that one
        )
        try:
            yield process, log
        finally:
            process.terminate()
            process.wait()


def _wait_for_answer(
    pool: HTTPConnectionPool, process: "subprocess.Popen[bytes]", log: IO[str]
) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while not _answers(pool):
        if process.poll() is not None:
            _wait_for_end(process, log)
        if time.monotonic() > deadline:
            raise InfraError("MLflow doesn't answer through the task: its log group says why")
        time.sleep(0.2)


def _wait_for_end(process: "subprocess.Popen[bytes]", log: IO[str]) -> NoReturn:
    process.wait()
    log.seek(0)
    said = (log.read().strip().splitlines() or ["nothing was said"])[-1]
    raise InfraError(f"the session has ended; {PLUGIN} says: {said}")


def _answers(pool: HTTPConnectionPool) -> bool:
    try:
        return pool.request("GET", "/health", timeout=2, retries=False).status == HTTPStatus.OK
    except HTTPError:
        return False
