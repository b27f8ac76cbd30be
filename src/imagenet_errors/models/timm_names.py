"""Metadata from the name of timm's weights: `convnext_tiny.in12k_ft_in1k` was trained on ImageNet-21k.

A name is `<architecture>.<tag>`. Its words, between underscores, are looked up in artefacts/weight_tags.csv. What no
word says is unknown:

- Corpus: of the words in the tag that name one, the one that comes first in the table; `unknown` where none does, or
  where it is not one of the paper's twelve. (`in12k`, 11,821 classes of ImageNet-21k, counts as ImageNet-21k.)
- Extra annotations: all that words of the tag or of the architecture name; `ns` is Noisy Student in a tag, and nothing
  in an architecture.
- Architecture: that of the paper's rows with the same architecture name; else that of all its rows whose first word is
  the same without a version or size at its end (`mobilenetv4` is a `mobilenet`), if they agree; else timm's own name,
  which has neither group nor family. A name with the word `hybrid` is not compared by its first word.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imagenet_errors.files import read_csv
from imagenet_errors.models.architectures import Architecture, read_architectures
from imagenet_errors.models.model_table import ModelRecord, load_records
from imagenet_errors.paths import MODELS, WEIGHT_TAGS, Artefacts

COLUMNS = ["part", "token", "training_data", "extra_annotation"]
VERSION_OR_SIZE = re.compile(r"(v?\d+[a-z]{0,2}\d*)$")


@dataclass(frozen=True)
class Rules:
    """How names are read.

    Attributes:
        tokens: Rows of weight_tags.csv.
        by_name: {timm's architecture name: the paper's architecture}.
        by_stem: {stem of its first word: the paper's architectures}.
        archs: What the paper says of these.
    """

    tokens: list[dict[str, str]]
    by_name: dict[str, str]
    by_stem: dict[str, set[str]]
    archs: dict[str, Architecture]

    @classmethod
    def load(cls, artefacts: Artefacts, records: Iterable[ModelRecord] | None = None) -> "Rules":
        """The rules of the repository; the known architectures are those of `records`, by default the paper's."""
        by_name: dict[str, str] = {}
        by_stem: dict[str, set[str]] = {}
        for record in load_records(artefacts, MODELS) if records is None else records:
            name = record.builder.rpartition(":")[2].partition(".")[0]
            by_name[name] = record.arch
            by_stem.setdefault(get_stem(name), set()).add(record.arch)
        return cls(read_csv(artefacts.find(WEIGHT_TAGS), COLUMNS), by_name, by_stem, read_architectures(artefacts))

    def describe(self, name: str, module: str) -> ModelRecord:
        """The record of a timm model, `<architecture>.<tag>` or an architecture alone."""
        architecture, _, tag = name.partition(".")
        found = list(self._matching("tag", tag))
        corpora = [row["training_data"] for row in found if row["training_data"]]
        extra = {row["extra_annotation"] for row in (*found, *self._matching("architecture", architecture))}
        arch = self.find_arch(architecture)
        return ModelRecord(
            f"timm/{name}",
            module,
            "timm",
            name,
            arch=arch,
            arch_family=self.archs.get(arch, Architecture()).family,
            training_data=corpora[0] if corpora else "unknown",
            extra_annotations=tuple(sorted(extra - {""})),
        )

    def find_arch(self, architecture: str) -> str:
        """The paper's name of an architecture of timm; timm's own where the paper has none."""
        if architecture in self.by_name:
            return self.by_name[architecture]
        relatives = self.by_stem.get(get_stem(architecture), set())
        if len(relatives) == 1 and "hybrid" not in architecture.split("_"):
            return next(iter(relatives))
        return architecture

    def _matching(self, part: str, words: str) -> Iterator[dict[str, str]]:
        """The rows of the table, in its order, whose token is one of the words."""
        split = set(words.split("_"))
        return (row for row in self.tokens if row["part"] == part and row["token"] in split)


def get_stem(architecture: str) -> str:
    """The first word of an architecture's name without a version or size at its end: `mobilenet` of `mobilenetv4`."""
    return VERSION_OR_SIZE.sub("", architecture.partition("_")[0])
