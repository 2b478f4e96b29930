"""placeholder"""

from taut.gateway.settings import Settings


def description(settings: Settings, *, has_keys: bool) -> dict[str, object]:
    return {}
