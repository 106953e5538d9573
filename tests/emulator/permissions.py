"""Run a command with the permissions of a role, and compare its calls with the role's policy."""

from tests.emulator.account import Account

S3_ACTIONS = {
    "HEAD": {"s3:GetObject", "s3:ListBucket"},
    "GET": {"s3:GetObject", "s3:ListBucket"},
    "PUT": {"s3:PutObject"},
}
"""The IAM actions, one of which a request to S3 needs, by the method of the request."""
NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}
"""STS/latest/APIReference/API_GetCallerIdentity.html: "No permissions are required"."""


def role_environment(account: Account, role: str) -> dict[str, str]:
    """Return the environment variables of a process that has assumed a role."""
    response = account.client("sts").assume_role(RoleArn=role, RoleSessionName="test")
    credentials = response["Credentials"]
    return {
        **account.environment,
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }


def calls_by(account: Account, role: str) -> set[str]:
    """Return what a role has called so far: `ecr:PutImage`, `s3:HEAD`."""
    calls = [call for call in account.calls() if call["caller"] == role]
    return {f"{call['service']}:{call['action']}" for call in calls}


def calls_without_permission(account: Account, role: str) -> set[str]:
    """Return the calls of a role that its policy doesn't allow, whatever their resource."""
    policy = account.client("iam").get_role_policy(
        RoleName=role.rpartition("/")[2], PolicyName="permissions"
    )["PolicyDocument"]
    allowed = set(NEEDS_NO_PERMISSION)
    for statement in policy["Statement"]:
        actions = statement["Action"]
        allowed |= {actions} if isinstance(actions, str) else set(actions)
    return {
        call
        for call in calls_by(account, role)
        if not (S3_ACTIONS[call[3:]] if call.startswith("s3:") else {call}) & allowed
    }
