from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """Version of the installed package."""
    try:
        return installed("jaxem")
    except PackageNotFoundError:
        return "unknown"
