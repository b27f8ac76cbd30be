"""What figures know of a model beyond the stats tables: its training corpus, its way of pretraining.

Source: Peychev et al. 2023, the figures of the paper and its repository.
"""

import ast
from dataclasses import dataclass

import pandas as pd

UNKNOWN_VALUE = "unknown"  # of a corpus or a way of pretraining outside the lists below


@dataclass(frozen=True)
class Corpus:
    """What a model was trained on.

    Attributes:
        num_images: Its size.
        size_group: Its class of size.
        marker: Its matplotlib marker.
    """

    num_images: float
    size_group: str
    marker: str


CORPORA = {
    "ImageNet-1k (1.2M)": Corpus(1.2e6, "small (< 5M)", "o"),
    "ImageNet-21k (14M)": Corpus(14e6, "medium (< 50M)", "s"),
    "Merged (30M)": Corpus(30e6, "medium (< 50M)", "p"),
    "Merged (38M)": Corpus(38e6, "medium (< 50M)", "8"),
    "Flickr YFCC (90M)": Corpus(90e6, "large (< 500M)", "*"),
    "JFT (300M)": Corpus(300e6, "large (< 500M)", "D"),
    "WIT (400M)": Corpus(400e6, "large (< 500M)", "<"),
    "LAION-400M (400M)": Corpus(400e6, "large (< 500M)", ">"),
    "Instagram (940M)": Corpus(940e6, "xlarge (> 500M)", "X"),
    "RandomInternetImages (2B)": Corpus(2e9, "xlarge (> 500M)", "v"),
    "LAION-2B (2.3B)": Corpus(2.3e9, "xlarge (> 500M)", "^"),
    "Instagram (3.6B)": Corpus(3.6e9, "xlarge (> 500M)", "P"),
}
PRETRAIN_METHODS = (
    "Standard",
    "Semi-Supervised Learning",
    "Self-Supervised Learning",
    "Distillation",
    "CLIP Training",
    "Adversarial Training",
)


def add_model_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A stats table with `training_data_size`, `training_data_group` and `pretrain_method`; its own ones stay."""
    sizes = {name: corpus.num_images for name, corpus in CORPORA.items()}
    groups = {name: corpus.size_group for name, corpus in CORPORA.items()}
    derived = {
        "training_data_size": table.training_data.map(sizes).astype(float),
        "training_data_group": table.training_data.map(groups).astype(object).fillna(UNKNOWN_VALUE),
        "pretrain_method": table.extra_annotations.map(parse_pretrain_method),
    }
    return table.assign(**{name: column for name, column in derived.items() if name not in table})


def parse_pretrain_method(extra_annotations: str) -> str:
    """The way of pretraining that `extra_annotations`, a list as Python prints it, names.

    Self-supervised learning with CLIP training is CLIP training; any other list of several is `unknown`.
    """
    try:
        listed = ast.literal_eval(extra_annotations)
    except (ValueError, SyntaxError):
        return UNKNOWN_VALUE
    if not isinstance(listed, list):
        return UNKNOWN_VALUE
    if not listed:
        return "Standard"
    if sorted(listed) == ["CLIP Training", "Self-Supervised Learning"]:
        return "CLIP Training"
    return listed[0] if len(listed) == 1 else UNKNOWN_VALUE
