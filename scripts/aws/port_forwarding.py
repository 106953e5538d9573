"""Forwarding a local port to a stage's MLflow, through a bastion task and Session Manager."""

import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from tempfile import TemporaryFile
from typing import IO, Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from aws.account import AwsAccount, aws_errors
from contract.errors import InfraError
from contract.names import (
    BASTION_STARTED_BY,
    NO_IMAGE,
    PORT_FORWARDING_DOCUMENT,
    Image,
    StackName,
    StackOutput,
)
from endpoints.ports import HOST, require_free_port

logger = logging.getLogger(__name__)

PLUGIN = "session-manager-plugin"
"""AWS's implementation of Session Manager's protocol. It is called as the AWS CLI calls it: with
the response of StartSession, whose token it reads from an environment variable, which other users
can't read (see awscli/customizations/sessionmanager.py). AWS requires version 1.2.764.
"""
PLUGIN_URL = (
    "https://docs.aws.amazon.com/systems-manager/latest/userguide/"
    "session-manager-working-with-install-plugin.html"
)
RESPONSE_VARIABLE = "AWS_SSM_START_SESSION_RESPONSE"
TASK_START_SECONDS, RESPONSE_SECONDS = 300, 30
Json = dict[str, Any]


@dataclass(frozen=True)
class PortForwarding:
    """A forwarded port, while the context manager is open."""

    address: str
    """The local address of the stage's MLflow, as a URI."""
    pool: HTTPConnectionPool
    """Connections to it. A certificate is verified against the domain that it was issued for."""
    wait: Callable[[], NoReturn]
    """Never returns; raises an InfraError when AWS closes the session, as it does an idle one."""


@contextmanager
def forward_port(account: AwsAccount, port: int) -> Iterator[PortForwarding]:
    """Forward a local port to a stage's MLflow, and stop all that was started for it on exit.

    Args:
        account: The account and stage.
        port: The port on 127.0.0.1.

    Raises:
        StackError: The plugin is missing, the port is in use, MLflow is not deployed or does not
            respond, or AWS denies a request.
    """
    plugin = _find_plugin()
    require_free_port(port)
    outputs = account.outputs(StackName.BASE) | account.outputs(StackName.MLFLOW)
    if account.image_digest(Image.MLFLOW) == NO_IMAGE:
        prefix = account.stage.prefix
        raise InfraError(f"MLflow of {prefix} has no image yet; run make deploy to push one")
    scheme, _, host = outputs[StackOutput.MLFLOW_URI].partition("://")
    pool = _connection_pool(scheme, host, port)
    with (
        _bastion_task(account, outputs) as task,
        _session(account, _session_request(scheme, host, task, port)) as (arguments, response),
        _plugin_process([plugin, *arguments], response) as (process, log),
    ):
        _wait_for_response(pool, process, log)
        wait = partial(_wait_for_exit, process, log)
        yield PortForwarding(f"{scheme}://{HOST}:{port}", pool, wait)


def _connection_pool(scheme: str, host: str, port: int) -> HTTPConnectionPool:
    if scheme == "http":
        return HTTPConnectionPool(HOST, port)
    return HTTPSConnectionPool(
        HOST, port, headers={"Host": host}, server_hostname=host, assert_hostname=host
    )


def _find_plugin() -> str:
    plugin = shutil.which(PLUGIN)
    if not plugin:
        raise InfraError(
            f"{PLUGIN} is not installed; AWS's plugin is needed to forward a port: {PLUGIN_URL}"
        )
    return plugin


@contextmanager
def _bastion_task(account: AwsAccount, outputs: Mapping[StackOutput, str]) -> Iterator[Json]:
    """Run the task that the port is forwarded through, and stop it on exit."""
    ecs, cluster = account.client("ecs"), outputs[StackOutput.MLFLOW_CLUSTER]
    logger.info("Starting a bastion task (about a minute) ...")
    with aws_errors("the bastion task"):
        response = ecs.run_task(
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
    if failures := response.get("failures"):
        raise InfraError(f"the bastion task: {failures[0].get('reason', 'not started')}")
    task_arn = response["tasks"][0]["taskArn"]
    try:
        yield _wait_for_agent(ecs, cluster, task_arn)
    finally:
        with aws_errors("the bastion task can't be stopped, and exits by itself after 8 hours"):
            ecs.stop_task(cluster=cluster, task=task_arn, reason="port forwarding ended")
        logger.info("Stopped the bastion task")


def _wait_for_agent(ecs: Any, cluster: str, task_arn: str) -> Json:  # noqa: ANN401 - boto3's
    """Wait for Session Manager's agent in a task; return the task."""
    deadline, logged_status = time.monotonic() + TASK_START_SECONDS, ""
    while time.monotonic() < deadline:
        with aws_errors("the bastion task"):
            tasks = ecs.describe_tasks(cluster=cluster, tasks=[task_arn])["tasks"]
        task: Json = tasks[0] if tasks else {}  # ECS is eventually consistent: missing at first
        status = task.get("lastStatus", "PROVISIONING")
        if status in {"DEPROVISIONING", "STOPPED"}:
            raise InfraError(f"the bastion task stopped: {task.get('stoppedReason')}")
        agents = [
            agent.get("lastStatus")
            for container in task.get("containers", [])
            for agent in container.get("managedAgents", [])
        ]
        if status == "RUNNING" and agents == ["RUNNING"]:
            return task
        if status != logged_status:
            logger.info("  %s", status.lower())
            logged_status = status
        time.sleep(1)
    raise InfraError(f"the bastion task was not ready within {TASK_START_SECONDS} s")


def _session_request(scheme: str, host: str, task: Json, port: int) -> Json:
    """Return StartSession's request, which the plugin receives as well: the task and the host."""
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
def _session(account: AwsAccount, request: Json) -> Iterator[tuple[list[str], str]]:
    """Start a session; yield the plugin's arguments, and the value of RESPONSE_VARIABLE."""
    ssm = account.client("ssm")
    with aws_errors("Session Manager"):
        session: Json = ssm.start_session(**request)
    try:
        response = {key: session[key] for key in ("SessionId", "TokenValue", "StreamUrl")}
        yield _plugin_arguments(account, request), json.dumps(response)
    finally:
        try:
            ssm.terminate_session(SessionId=session["SessionId"])
        except (BotoCoreError, ClientError) as error:  # stopping the task closes it as well
            logger.info("Session Manager: %s", error)


def _plugin_arguments(account: AwsAccount, request: Json) -> list[str]:
    profile, endpoint = os.environ.get("AWS_PROFILE", ""), account.client("ssm").meta.endpoint_url
    region = account.stage.region
    return [RESPONSE_VARIABLE, region, "StartSession", profile, json.dumps(request), endpoint]


@contextmanager
def _plugin_process(
    command: list[str], response: str
) -> Iterator[tuple["subprocess.Popen[bytes]", IO[str]]]:
    """Run the plugin; yield its process and its output."""
    logger.debug("Running %s", " ".join(command))
    with TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, RESPONSE_VARIABLE: response},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is handled here, and the plugin is stopped on exit
        )
        try:
            yield process, log
        finally:
            process.terminate()
            process.wait()


def _wait_for_response(
    pool: HTTPConnectionPool, process: "subprocess.Popen[bytes]", log: IO[str]
) -> None:
    deadline = time.monotonic() + RESPONSE_SECONDS
    while not _is_healthy(pool):
        if process.poll() is not None:
            _wait_for_exit(process, log)
        if time.monotonic() > deadline:
            raise InfraError(
                f"MLflow does not respond through the forwarded port within {RESPONSE_SECONDS} s; "
                "see its log group in CloudWatch"
            )
        time.sleep(0.2)


def _wait_for_exit(process: "subprocess.Popen[bytes]", log: IO[str]) -> NoReturn:
    process.wait()
    log.seek(0)
    last_line = (log.read().strip().splitlines() or ["no output"])[-1]
    raise InfraError(f"the session was closed; {PLUGIN}: {last_line}")


def _is_healthy(pool: HTTPConnectionPool) -> bool:
    try:
        return pool.request("GET", "/health", timeout=2, retries=False).status == HTTPStatus.OK
    except HTTPError:
        return False
