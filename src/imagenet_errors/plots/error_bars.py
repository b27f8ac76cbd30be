"""The bar picture of the error types of a few or many models."""

from pathlib import Path

import numpy as np

from imagenet_errors.files import atomic_write

COLORS = ("#56B4E9", "#0072B2", "#009E73", "#F0E442", "#E69F00", "#CC79A7", "#444444")  # Okabe and Ito 2008


def draw(
    models: list[str],
    titles: list[str],
    counts: np.ndarray,
    remarks: list[str],
    heading: str,
    path: Path,
) -> None:
    """Draw one stacked bar per model: the share of each error type among its top-1 errors.

    Args:
        models: Names, from top to bottom.
        titles: Names of the t error types, from left to right; at most seven. A type's place is its colour.
        counts: [models, t] int.
        remarks: [t] what to know of the counts of a type, e.g. `at most`, or nothing; types with a remark are hatched.
        heading: The title.
        path: The PNG to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    totals = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(1, totals)
    figure, axes = plt.subplots(figsize=(9, 1.9 + 0.34 * len(models)), layout="constrained")
    lefts = shares.cumsum(axis=1) - shares
    for title, remark, color, left, share in zip(titles, remarks, COLORS, lefts.T, shares.T, strict=False):
        axes.barh(
            range(len(models)),
            share,
            left=left,
            color=color,
            edgecolor="white",
            linewidth=0.6,
            hatch="////" if remark else None,
            label=f"{title} ({remark})" if remark else title,
        )
    names = [model.replace("$", r"\$") for model in models]  # not a formula
    labels = [f"{name}  ({total:,} errors)" for name, total in zip(names, totals[:, 0], strict=True)]
    axes.set(yticks=range(len(models)), yticklabels=labels, xlim=(0, 100), xlabel="share of top-1 errors [%]")
    axes.invert_yaxis()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_title(heading, fontsize="medium", loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize="small")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
