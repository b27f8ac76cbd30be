"""The tables of models as typed records, and the choice among them."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from imagenet_errors.errors import InputError, describe_unknown
from imagenet_errors.files import read_csv, read_text
from imagenet_errors.models.architectures import Architecture, read_architectures
from imagenet_errors.paths import MODELS, MODELS_BEYOND, Artefacts, model_dir_id

COLUMNS = [
    "model_id",
    "module",
    "source",
    "builder",
    "weights",
    "arch",
    "training_data",
    "extra_annotations",
    "num_params",
]
SEPARATOR = "; "  # of extra_annotations
ALL, EVERYTHING = "all", "everything"  # for `--modules`: the paper's models; also those beyond them


@dataclass(frozen=True)
class ModelRecord:
    """A row of models.csv or models_beyond.csv: all that distinguishes one model from another.

    Attributes:
        model_id: `<publisher>/<name>`.
        module: The group that `--modules` names.
        source: Which loader builds it.
        builder: What the loader calls.
        weights: Which weights the loader takes, where the builder does not say so.
        arch: An architecture of archs.csv, another one, or `unknown`.
        arch_family: That of archs.csv; `unknown` for another architecture.
        training_data: One of the paper's corpora, or `unknown`.
        extra_annotations: What else its training used, e.g. `Distillation`.
        num_params: Parameters that require gradients; None where they have not been counted.
        is_published: Whether it is one of the paper's 962.
    """

    model_id: str
    module: str
    source: str
    builder: str
    weights: str = ""
    arch: str = "unknown"
    arch_family: str = "unknown"
    training_data: str = "unknown"
    extra_annotations: tuple[str, ...] = ()
    num_params: int | None = None
    is_published: bool = False

    @classmethod
    def from_row(cls, row: dict[str, str], archs: dict[str, Architecture], is_published: bool = False) -> "ModelRecord":
        texts = {column: row[column] for column in COLUMNS if column not in ("extra_annotations", "num_params")}
        return cls(
            **texts,
            arch_family=archs.get(row["arch"], Architecture()).family,
            extra_annotations=tuple(filter(None, row["extra_annotations"].split(SEPARATOR))),
            num_params=int(row["num_params"]) if row["num_params"] else None,
            is_published=is_published,
        )

    def to_row(self) -> dict[str, Any]:
        """A row of the table; inverse of `from_row`."""
        return {column: getattr(self, column) for column in COLUMNS} | {
            "extra_annotations": SEPARATOR.join(self.extra_annotations)
        }

    @property
    def dir_id(self) -> str:
        return model_dir_id(self.model_id)

    @property
    def name(self) -> str:
        """Its id without the publisher."""
        return self.model_id.partition("/")[2]

    @property
    def names(self) -> tuple[str, str, str]:
        """Those that choose it."""
        return self.model_id, self.dir_id, self.name

    def is_called(self, pattern: str) -> bool:
        """Whether a name, or a wildcard such as `resnet50.*`, chooses it."""
        return pattern in self.names or any(fnmatchcase(name, pattern) for name in self.names)

    def is_in(self, module: str) -> bool:
        """Whether it is in a module, in `all` (the paper's models) or in `everything`."""
        return module in (self.module, EVERYTHING) or (module == ALL and self.is_published)


def load_records(artefacts: Artefacts, *tables: str) -> list[ModelRecord]:
    """The models of these tables, by default the paper's 962 and those beyond it.

    Raises:
        InputError: for a table that is missing or damaged.
    """
    archs = read_architectures(artefacts)
    records = []
    for table in tables or (MODELS, MODELS_BEYOND):
        path = artefacts.find(table)
        try:
            records += [ModelRecord.from_row(row, archs, table == MODELS) for row in read_csv(path, COLUMNS)]
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}): restore it from the repository") from None
    return records


def read_names(arguments: list[str]) -> list[str]:
    """The names that `--model` lists; a file stands for the names in it, one a line, with `#` before remarks.

    Raises:
        InputError: for a file without a name.
    """
    names = []
    for argument in arguments:
        if not Path(argument).is_file():
            names.append(argument)
            continue
        lines = [line.partition("#")[0].strip() for line in read_text(Path(argument)).lstrip("\ufeff").splitlines()]
        if not any(lines):
            raise InputError(f"{argument} names no model: write one name a line")
        names += filter(None, lines)
    return names


def select(records: list[ModelRecord], modules: list[str], names: list[str] | None) -> list[ModelRecord]:
    """The models to run, each once, in the order of the table.

    Args:
        records: The table.
        modules: Groups, `all` (the paper's models) or `everything`; they bound what a wildcard matches.
        names: Models or wildcards; all of the modules where None. An exact name is found in every module.

    Raises:
        InputError: for a module or a name that there is not, with the closest there is.
    """
    known = {record.module for record in records} | {ALL, EVERYTHING}
    for module in modules:
        if module not in known:
            raise InputError(describe_unknown("module", module, sorted(known)))
    of_modules = [record for record in records if any(map(record.is_in, modules))]
    if names is None:
        return of_modules
    chosen = set()
    for name in names:
        found = [record for record in records if name in record.names]
        found = found or [record for record in of_modules if record.is_called(name)]
        if not found:
            raise InputError(_describe_not_found(name, records, modules))
        chosen.update(found)
    return [record for record in records if record in chosen]


def _describe_not_found(name: str, records: list[ModelRecord], modules: list[str]) -> str:
    elsewhere = {record.module for record in records if record.is_called(name)}
    if elsewhere:
        others = ", ".join(sorted(elsewhere))
        return f"no model of --modules {' '.join(modules)} matches {name!r}, but some of {others}: add a module"
    return describe_unknown("model", name, [record.model_id if "/" in name else record.name for record in records])
