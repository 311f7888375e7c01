from importlib.metadata import PackageNotFoundError, version as installed


def version() -> str:
    """Version of the installed package."""
    try:
        return installed("jaxem")
    except PackageNotFoundError:
        return "unknown"
