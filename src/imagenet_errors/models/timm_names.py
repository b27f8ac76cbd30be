"""What the name of a timm weight tells of it: `convnext_tiny.in12k_ft_in1k` was trained on ImageNet-21k.

A name is `<architecture>.<tag>`. Its words, between underscores, are looked up in artefacts/weight_tags.csv. What they
do not tell stays unknown:

- Corpus: of the tag's words that name one, the one that stands first in the table. A tag that names none, or one that
  is none of the paper's twelve, has the corpus `unknown`. (`in12k`, 11,821 classes of ImageNet-21k, counts as it.)
- Extra annotations: all that words of the tag or of the architecture name; `ns` in a tag is Noisy Student, in an
  architecture it is not.
- Architecture: that of the paper's rows with the same architecture name; else that of all its rows whose first word is
  the same up to a version or size at its end (`mobilenetv4` is a `mobilenet`), if they are of one architecture; else
  timm's own name for it, which has neither group nor family. `hybrid` in a name sets it apart from its relatives.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from imagenet_errors.files import read_csv
from imagenet_errors.models.architectures import Architecture, read_architectures
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import WEIGHT_TAGS, Artefacts

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
    def load(cls, artefacts: Artefacts, records: Iterable[ModelRecord]) -> "Rules":
        """The rules of the repository, with the paper's `records` as the architectures that are known."""
        by_name, by_stem = {}, {}
        for record in records:
            name = record.builder.rpartition(":")[2].partition(".")[0]
            by_name[name] = record.arch
            by_stem.setdefault(stem(name), set()).add(record.arch)
        return cls(read_csv(artefacts.find(WEIGHT_TAGS), COLUMNS), by_name, by_stem, read_architectures(artefacts))

    def describe(self, name: str, module: str) -> ModelRecord:
        """The record of a timm model, `<architecture>.<tag>` or an architecture alone."""
        architecture, _, tag = name.partition(".")
        found = list(self._matching("tag", tag))
        corpora = [row["training_data"] for row in found if row["training_data"]]
        extra = {row["extra_annotation"] for row in (*found, *self._matching("architecture", architecture))}
        arch = self.arch(architecture)
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

    def arch(self, architecture: str) -> str:
        if architecture in self.by_name:
            return self.by_name[architecture]
        relatives = self.by_stem.get(stem(architecture), set())
        if len(relatives) == 1 and "hybrid" not in architecture.split("_"):
            return next(iter(relatives))
        return architecture

    def _matching(self, part: str, words: str) -> Iterator[dict[str, str]]:
        """The rows of the table, in its order, whose token is one of the words."""
        split = set(words.split("_"))
        return (row for row in self.tokens if row["part"] == part and row["token"] in split)


def stem(architecture: str) -> str:
    """The first word of an architecture's name without a version or size at its end: `mobilenet` of `mobilenetv4`."""
    return VERSION_OR_SIZE.sub("", architecture.partition("_")[0])
