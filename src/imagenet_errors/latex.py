"""Tables in LaTeX."""

import re

from imagenet_errors.dataset.classes import Classes
from imagenet_errors.dataset.superclasses import Superclasses

ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


def escape(text: str) -> str:
    """`text` with LaTeX's special characters escaped."""
    return re.sub(r"[\\~^&%$#_{}<>|]", lambda match: ESCAPES[match[0]], text)


def format_models(rows: list[dict]) -> str:
    """The rows of a table of models, `i. & model & source & family & corpus`, by family, then model.

    Args:
        rows: Those of models_summary.csv.
    """
    cells = [
        (
            {"transformer": "vit"}.get(row["arch_family"], row["arch_family"]),
            row["model_id"],
            "torch" if row["source"] in ("torch.hub", "torchvision.models") else row["source"],
            row["dataset"],
        )
        for row in rows
    ]
    return "".join(
        f"{number}. & {escape(model)} & {escape(source)} & {escape(family)} & {escape(corpus)} \\\\\n"
        for number, (family, model, source, corpus) in enumerate(sorted(cells, key=" | ".join), start=1)
    )


def format_superclasses(found: Superclasses, vocabulary: Classes) -> str:
    """An `\\item` per superclass with its classes in a `longtable` (the package of that name), to put into a list."""
    return "".join(
        f"\\item {title} ({len(members)})\n"
        "\\begin{longtable}{@{}lp{0.75\\linewidth}@{}}\n"
        + "".join(f"{vocabulary.wnids[i]} & {escape(vocabulary.descriptions[i])} \\\\\n" for i in members)
        + "\\end{longtable}\n"
        for title, members in (
            *((f"\\textbf{{\\texttt{{{escape(name)}}}}}", members) for name, members in found.list_defined(vocabulary)),
            ("Without a superclass", found.list_ungrouped(vocabulary)),
        )
    )
