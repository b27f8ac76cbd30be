"""How an ImageNet model fails: one error type for every top-1 error (after Peychev et al., NeurIPS 2023)."""
