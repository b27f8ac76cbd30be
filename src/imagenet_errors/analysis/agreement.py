"""Do stats tables agree with a reference, cell by cell?"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagenet_errors.dataset.classes import GROUPS
from imagenet_errors.errors import InputError
from imagenet_errors.files import read_text
from imagenet_errors.paths import stats_table

TOLERANCE = 1e-6  # of numbers, which are written with more digits than were computed
MOST_SHOWN = 10
DIFFERS, EMPTY = "differs", "empty here"
COLUMNS = ["state", "group", "model", "column", "here", "reference"]

Table = dict[str, dict[str, str]]  # by model, its cells by column


@dataclass(frozen=True)
class Cell:
    """A cell that does not agree: DIFFERS, or EMPTY where the reference has a value and we have none."""

    state: str
    group: str
    model: str
    column: str
    here: str
    reference: str


@dataclass(frozen=True)
class Agreement:
    """How far the tables of a dataset agree with a reference.

    Attributes:
        dataset: `imagenet` or `imagenet-a`.
        num_models: In our tables.
        num_compared: Of these, how many the reference has.
        num_reference: Models of the reference.
        num_cells: Compared, in the tables of all groups.
        cells: Those that do not agree, in the order of the tables.
    """

    dataset: str
    num_models: int
    num_compared: int
    num_reference: int
    num_cells: int
    cells: list[Cell]

    @property
    def differing(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.state == DIFFERS]

    def report(self) -> list[str]:
        """The lines to print."""
        if not self.num_compared:
            return [f"{self.dataset}: {_count(self.num_models, 'model')}, none published"]
        agreeing, all_published = self.num_cells - len(self.cells), self.num_compared == self.num_models
        published = "all published" if all_published else f"{self.num_compared:,} of them published"
        absent = self.num_reference - self.num_compared
        lines = [
            f"{self.dataset}: {_count(self.num_models, 'model')}, {published}"
            + (f" ({absent:,} published ones are not here)" if absent else ""),
            f"{agreeing:,} of {_count(self.num_cells, 'cell')} agree with the published tables,"
            f" {len(self.differing):,} differ, {len(self.cells) - len(self.differing):,} are empty here",
        ]
        empty = Counter(cell.column for cell in self.cells if cell.state == EMPTY)
        lines += [f"  empty here: {column}, {_count(count, 'cell')}" for column, count in empty.items()]
        for cell in self.differing[:MOST_SHOWN]:
            values = f"{cell.here or 'empty'} here, {cell.reference or 'empty'} published"
            lines.append(f"  differs: {cell.group}, {cell.model}, {cell.column}: {values}")
        if len(self.differing) > MOST_SHOWN:
            lines.append(f"  and {len(self.differing) - MOST_SHOWN:,} more")
        return lines


def compare_tables(stats_dir: Path, reference: Path, dataset: str) -> Agreement:
    """Compare the four tables of a dataset with those of a reference.

    Cells agree where their texts are equal, or both are numbers that differ by less than a millionth. Models that only
    one of the two has are counted and not compared.

    Args:
        stats_dir: The folder with our `stats-<dataset>/`.
        reference: The folder with that of the reference.
        dataset: `imagenet` or `imagenet-a`.

    Raises:
        InputError: where a table is missing, has no column of models, or lacks a column of the reference.
    """
    num_cells = 0
    cells: list[Cell] = []
    for group in GROUPS:
        path = stats_table(stats_dir, dataset, group)
        ours, theirs = _read(path), _read(stats_table(reference, dataset, group))
        common = [model for model in ours if model in theirs]
        columns = [name for name in next(iter(theirs.values()), {}) if name != "model_dir_id"]
        missing = [name for name in columns if common and name not in ours[common[0]]]
        if missing:
            raise InputError(f"{path} lacks the column {missing[0]!r}: write it again with evaluation.py")
        num_cells += len(common) * len(columns)
        cells += _find_disagreeing(group, ours, theirs, common, columns)
    return Agreement(dataset, len(ours), len(common), len(theirs), num_cells, cells)


def _find_disagreeing(group: str, ours: Table, theirs: Table, models: list[str], columns: list[str]) -> Iterator[Cell]:
    for model in models:
        for column in columns:
            here, reference = ours[model][column], theirs[model][column]
            if not _agree(here, reference):
                yield Cell(DIFFERS if here else EMPTY, group, model, column, here, reference)


def _agree(first: str, second: str) -> bool:
    if first == second:
        return True
    try:
        return abs(float(first) - float(second)) < TOLERANCE
    except ValueError:
        return False


def _read(path: Path) -> Table:
    rows = list(csv.DictReader(read_text(path).splitlines()))
    if rows and "model_dir_id" not in rows[0]:
        raise InputError(f"{path} has no column model_dir_id: write it again with evaluation.py")
    return {row["model_dir_id"]: row for row in rows}


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
