"""Optional packages: a missing one is refused with the extra that installs it."""

from importlib import import_module

from frostline.errors import ConfigError, FrostlineError


def require(user: str, extra: str, *modules: str, error: type[FrostlineError] = ConfigError) -> None:
    """Import optional modules, so that a missing package is refused before any work begins.

    Parameters
    ----------
    user : str
        What needs them, e.g. ``"explain"``.
    extra : str
        The extra of Frostline that installs them.
    *modules : str
    error : type
        The error to raise.

    Raises
    ------
    ConfigError
        Or the ``error``: names the first package that is missing, and the extra.
    """
    for module in modules:
        try:
            import_module(module)
        except ImportError as cause:
            package = (cause.name or module).partition(".")[0]
            raise missing_package(user, package, extra, error) from cause


def missing_package(user: str, package: str, extra: str, error: type[FrostlineError] = ConfigError) -> FrostlineError:
    """Return the error of a missing package; see `require`."""
    return error(f"{user} needs {package}, which is not installed: pip install 'frostline[{extra}]'.")
