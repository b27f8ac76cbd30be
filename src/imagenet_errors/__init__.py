"""How an ImageNet model fails: one error type for every top-1 error (after Peychev et al., NeurIPS 2023)."""

from imagenet_errors import signals

signals.exit_on_signals()
