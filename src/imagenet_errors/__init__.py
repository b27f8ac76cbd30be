"""How an ImageNet model fails: one error type for every top-1 error (after Peychev et al., NeurIPS 2023)."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - before anything that an older Python cannot read
    print("Python 3.11 or newer is needed, this is " + sys.version.split()[0], file=sys.stderr)
    raise SystemExit(2)

from imagenet_errors import signals

__version__ = "0.1.0"  # also in pyproject.toml

__all__ = ["classify_errors", "compare", "load_predictions", "profile"]

TYPE_CHECKING = False  # type checkers take it for that of typing, which would slow down every import of this package
if TYPE_CHECKING:
    from imagenet_errors.api import classify_errors, compare, load_predictions, profile
else:

    def __getattr__(name: str) -> object:
        """Import the functions of `imagenet_errors.api` when one is first used, as this takes a second."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from imagenet_errors import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


signals.exit_on_signals()
