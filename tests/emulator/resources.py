"""Register the resource types that moto's CloudFormation lacks or gets wrong.

Each type is created with the API calls of its service. Its physical id is what `Ref` returns, as
the type's page in CloudFormation's template reference defines it.
"""

from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel

from tests.emulator import monitoring, network, storage, tasks
from tests.emulator.moto_patches import apply_patches
from tests.emulator.registry import add_registry
from tests.emulator.resource import Resource
from tests.emulator.sessions import add_sessions

MODULES = (monitoring, network, storage, tasks)


def add_resources(address: str) -> None:
    """Patch moto and register the types.

    Args:
        address: The account's endpoint URL, which the types call.
    """
    Resource.address = address
    apply_patches()
    add_sessions()
    add_registry()
    for cache in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        cache.cache_clear()
    models = parsing.get_model_map()
    for module in MODULES:
        for member in vars(module).values():
            if isinstance(member, type) and issubclass(member, Resource) and member is not Resource:
                assert issubclass(member, CloudFormationModel)
                models[member.type] = member  # replaces moto's own, if it has one
