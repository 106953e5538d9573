"""Compare the calls that were made with a role with the role's policy."""

from tests.emulator.account import Account

NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}
"""STS/latest/APIReference/API_GetCallerIdentity.html: "No permissions are required"."""


def calls_by(account: Account, role: str) -> set[str]:
    """Return the actions that a role has called so far: `ecr:PutImage`, `s3:GetObject`."""
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
    return calls_by(account, role) - allowed
