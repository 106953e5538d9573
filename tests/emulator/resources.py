"""The resource types that moto's CloudFormation lacks or gets wrong.

Each is made by the calls that AWS's API has for it, and is named as its page in CloudFormation's
reference says that `Ref` does.
"""

from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel

from tests.emulator import monitoring, network, storage, tasks
from tests.emulator.moto_patches import mend
from tests.emulator.registry import add_registry
from tests.emulator.resource import Resource
from tests.emulator.sessions import add_sessions

MODULES = (monitoring, network, storage, tasks)


def add_resources(address: str) -> None:
    """Make the types known to moto's CloudFormation, and let them call the account.

    Args:
        address: Of the account.
    """
    Resource.address = address
    mend()
    add_sessions()
    add_registry()
    for cache in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        cache.cache_clear()
    known = parsing.get_model_map()
    for module in MODULES:
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, Resource) and one is not Resource:
                assert issubclass(one, CloudFormationModel)
                known[one.type] = one  # in the place of moto's own, where it has one
