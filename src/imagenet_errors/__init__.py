"""How an ImageNet model fails: one error type for every top-1 error (after Peychev et al., NeurIPS 2023)."""

from imagenet_errors import signals

__version__ = "0.1.0"  # also in pyproject.toml

signals.exit_on_signals()
