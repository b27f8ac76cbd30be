"""Analyses in the form of the paper's archives, as rows of errors_analysis.parquet and back."""

from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from imagenet_errors.dataset.annotations import AnnotatedImages, from_columns
from imagenet_errors.dataset.classes import NUM_CLASSES, Classes
from imagenet_errors.dataset.image_names import canonical_names
from imagenet_errors.dataset.samples import Samples, check_targets
from imagenet_errors.dataset.superclasses import Superclasses
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, NO_NOTE, NOTES
from imagenet_errors.errors import InputError, describe_exception
from imagenet_errors.files import fingerprint
from imagenet_errors.formats import error_analyses, image_tables
from imagenet_errors.formats.error_analyses import ARCHIVED, SKIPPED, ErrorAnalysis, Proposal
from imagenet_errors.formats.error_type_texts import DecidedImage, decode, encode
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.paper_archive.pickled_frames import Frame, read_frame, to_python

COLUMNS = (
    "wnet_id",
    "file_name",
    "img_rel_path",
    "target",
    "target_desc",
    "clip_top10_train_indices",
    "clip_top10_train_targets",
    "multi_label",
    "wrong_multi_label",
    "is_problematic",
    "multi_desc",
    "wrong_multi_desc",
    "clip_top10_train_files",
    "clip_top10_supercls",
    "top1",
    "top1_desc",
    "error_types",
)
OF_IMAGES = ("img_rel_path", "target", "multi_label", "wrong_multi_label", "is_problematic")
OF_NEIGHBOURS = ("clip_top10_train_indices", "clip_top10_train_targets", "clip_top10_train_files")
MOST_PARTS = 1000  # in a cell, on average
OPEN_WORLD = "open_world"  # an attribute of the frames that we write: whether the test was skipped ...
UNKNOWN_ROWS = "open_world_unknown"  # ... and one that lists the index of the images whose outcome is not known


@dataclass(frozen=True)
class ArchivedAnalysis:
    """One model's analysis from an archive.

    Attributes:
        images: The n images it is of; their `rows` are the frame's index.
        image_table: The file name of its image table; empty where it was not stored.
        error_types: [n] int8, positions in ERROR_TYPES.
        columns: Those of errors_analysis.parquet, as Arrow arrays.
        fingerprints: For `ErrorAnalysis.is_current`.
    """

    images: AnnotatedImages
    image_table: str
    error_types: np.ndarray
    columns: dict
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class _Rows:
    """A frame whose columns are lists, sorted by class folder and file name."""

    columns: dict[str, list]
    index: np.ndarray
    attrs: dict


class Reader:
    """Reads many archived analyses; what they say of the images is converted once, as long as it is the same.

    Args:
        classes: The 1000 classes.
        non_prototypical: Names of the non-prototypical images.
        with_neighbours: Whether each image's nearest training images are kept.
        folder: Where image tables are stored; None stores none.
    """

    def __init__(
        self,
        classes: Classes,
        non_prototypical: frozenset[str],
        with_neighbours: bool = True,
        folder: Path | None = None,
    ) -> None:
        self.classes, self.non_prototypical = classes, non_prototypical
        self.with_neighbours, self.folder = with_neighbours, folder
        self.last: tuple[list, AnnotatedImages, str] | None = None

    def read(self, content: bytes, where: Path) -> ArchivedAnalysis:
        """Read a pickled frame. Raises `InputError` for one that is hostile, damaged or says something impossible."""
        frame = read_frame(content, where)
        try:
            rows = _sorted(frame)
            images, image_table = self._images(rows, where)
            return _analysis(rows, images, image_table)
        except (InputError, OSError):
            raise
        except Exception as error:  # a damaged or hostile one raises nearly anything
            raise InputError(
                f"{where} is not an error analysis in the archive's form ({describe_exception(error)}):"
                " download or copy it again, or write it in that form"
            ) from None

    def _images(self, rows: _Rows, where: Path) -> tuple[AnnotatedImages, str]:
        names = OF_IMAGES + OF_NEIGHBOURS if self.with_neighbours else OF_IMAGES
        said = [*(rows.columns[name] for name in names), rows.index.tolist()]
        if self.last is None or self.last[0] != said:
            images = _images(rows, self.non_prototypical, where)
            check_targets(Samples(images.files, images.targets), self.classes, where)
            neighbours = _neighbours(rows) if self.with_neighbours else None
            columns = image_tables.build_columns(images, neighbours)
            self.last = said, images, image_tables.store(self.folder, columns) if self.folder else ""
        return self.last[1:]


def _sorted(frame: Frame) -> _Rows:
    """The rows in the order of class folders and file names."""
    missing = set(COLUMNS) - set(frame.columns)
    if missing:
        raise ValueError(f"it lacks the column {min(missing)}")
    if not len(frame.index):
        raise ValueError("it has no rows")
    columns = {name: _comparable(frame.columns[name]) for name in COLUMNS}
    index = frame.index
    if {*map(type, columns["img_rel_path"])} != {str}:
        raise ValueError("img_rel_path has values that are not texts")
    files = columns["img_rel_path"] = canonical_names(columns["img_rel_path"]).tolist()
    if any(before > after for before, after in pairwise(files)):
        order = sorted(range(len(files)), key=files.__getitem__)
        columns = {name: [cells[row] for row in order] for name, cells in columns.items()}
        index = index[order]
    return _Rows(columns, index, frame.attrs)


def _comparable(cells: np.ndarray | list) -> list:
    return cells.tolist() if isinstance(cells, np.ndarray) else cells


def _images(rows: _Rows, non_prototypical: frozenset[str], where: Path) -> AnnotatedImages:
    files, targets, labels, wrong, problematic = (rows.columns[name] for name in OF_IMAGES)
    samples = Samples(np.array(files), _class_ids(targets, "target"))
    labels, wrong = (
        _lists(cells, int, name) for cells, name in ((labels, "multi_label"), (wrong, "wrong_multi_label"))
    )
    for name, cells in (("multi_label", labels), ("wrong_multi_label", wrong)):
        _class_ids(list(chain.from_iterable(cells)), name)
    if {*map(type, problematic)} != {bool}:
        raise ValueError("is_problematic has values that are not booleans")
    return from_columns(samples, labels, wrong, problematic, rows.index, non_prototypical, str(where))


def _neighbours(rows: _Rows) -> Any:
    """The neighbours as a column, or None where no image has any."""
    indices, targets, files = (
        _lists(rows.columns[name], kind, name) for name, kind in zip(OF_NEIGHBOURS, (int, int, str), strict=True)
    )
    lengths = np.array([*map(len, indices)])
    if not lengths.any():
        return None
    flat = [list(chain.from_iterable(lists)) for lists in (indices, targets, files)]
    if [*map(len, targets)] != lengths.tolist() or len(flat[2]) not in (0, len(flat[0])):
        raise ValueError("the numbers of nearest training images and of their classes differ")
    return image_tables.neighbours_column(
        lengths, np.array(flat[0]), _class_ids(flat[1], OF_NEIGHBOURS[1]), flat[2] or None
    )


def _analysis(frame: _Rows, images: AnnotatedImages, image_table: str) -> ArchivedAnalysis:
    import pyarrow as pa

    top1 = _class_ids(frame.columns["top1"], "top1")
    lists = [tuple(texts) for texts in _lists(frame.columns["error_types"], str, "error_types")]
    known = {texts: _decoded(texts) for texts in set(lists)}
    decoded = [known[texts] for texts in lists]
    error_types, notes = (
        np.array([getattr(each, name) for each in decoded], np.int8) for name in ("error_type", "note")
    )
    skipped = frame.attrs.get(OPEN_WORLD) == SKIPPED
    asked = [(row, each) for row, each in enumerate(decoded) if each.num_prompts is not None]
    rows = np.array([row for row, _ in asked], int)
    proposals = [proposal for _, each in asked for proposal in each.proposals]
    unknown = np.array(frame.attrs.get(UNKNOWN_ROWS, []), int)  # raises for anything but numbers
    provisional = np.isin(error_types, AFTER_OPEN_WORLD) & (skipped | np.isin(frame.index, unknown))
    columns = error_analyses.type_columns(top1, error_types, notes, provisional)
    columns |= {
        "matching": pa.array([each.matching for each in decoded], pa.list_(pa.int16())),
        "superclasses": pa.array([each.superclasses for each in decoded], pa.list_(pa.string())),
    }
    columns |= error_analyses.proposal_columns(
        rows,
        np.array([each.num_prompts for _, each in asked], int),
        np.array([len(each.proposals) for _, each in asked], int),
        tuple(zip(*proposals, strict=True)) or ([], [], []),
        len(top1),
    )
    fingerprints = {
        "images": image_tables.images_fingerprint(images),
        "relations": ARCHIVED,
        "open_world": SKIPPED if skipped else ARCHIVED,
        "predictions": fingerprint(top1),
    }
    return ArchivedAnalysis(images, image_table, error_types, columns, fingerprints)


def _decoded(texts: tuple[str, ...]) -> DecidedImage:
    try:
        return decode(texts)
    except Exception as error:  # ast.literal_eval raises half a dozen
        raise ValueError(f"it has the error types {list(texts)!s:.200}") from error


def _class_ids(cells: list, name: str) -> np.ndarray:
    """[k] int16."""
    numbers = [to_python(cell) for cell in cells]
    if {*map(type, numbers)} - {int}:
        raise ValueError(f"{name} has values that are not integers")
    if any(not 0 <= number < NUM_CLASSES for number in numbers):
        raise ValueError(f"{name} has values that are not class ids of 0 to {NUM_CLASSES - 1}")
    return np.array(numbers, np.int16)


def _lists(cells: list, kind: type, name: str) -> list[list]:
    """Cells that are lists of integers or texts, plainly or as arrays."""
    lists = [to_python(cell) for cell in cells]
    if {*map(type, lists)} - {list}:
        raise ValueError(f"{name} has values that are not lists")
    if sum(map(len, lists)) > MOST_PARTS * len(lists):
        raise ValueError(f"{name} has lists that are too long")
    kinds = {*map(type, chain.from_iterable(lists))}
    if kinds - {kind}:
        lists = [[to_python(part) for part in parts] for parts in lists]
        if {*map(type, chain.from_iterable(lists))} - {kind}:
            raise ValueError(f"{name} has elements that are not {kind.__name__}")
    return lists


@dataclass(frozen=True)
class Writer:
    """Writes analyses in the form of an archive.

    Attributes:
        classes: The 1000 classes.
        superclasses: Which class is in which.
    """

    classes: Classes
    superclasses: Superclasses

    @cached_property
    def _names_of(self) -> list[list[str]]:
        return [self.superclasses.names_of(class_id) for class_id in range(NUM_CLASSES)]

    @cached_property
    def _image_tables(self) -> dict[str, dict[str, list]]:
        """Those read so far, by name: all models of an archive share a few."""
        return {}

    def _read_images(self, path: Path) -> dict[str, list]:
        if not image_tables.is_named_by_content(path):
            return image_tables.read(path)
        if path.name not in self._image_tables:
            self._image_tables[path.name] = image_tables.read(path)
        return self._image_tables[path.name]

    def frame(self, path: Path, analysis: ErrorAnalysis) -> Frame:
        """The frame of an analysis that was read from `path`; what it does not know are empty lists.

        Images without prediction are left out.
        """
        rows = error_analyses.read_rows(path) | self._read_images(image_tables.locate(path, analysis.image_table))
        predicted = analysis.top1 != NO_PREDICTION
        if not predicted.all():
            rows = {name: list(compress(cells, predicted)) for name, cells in rows.items()}
        describe = self.classes.descriptions
        near = [neighbours or [] for neighbours in rows["neighbours"]]
        columns: dict[str, np.ndarray | list] = {
            "wnet_id": [file.partition("/")[0] for file in rows["img_rel_path"]],
            "file_name": [file.partition("/")[2] for file in rows["img_rel_path"]],
            "img_rel_path": rows["img_rel_path"],
            "target": np.array(rows["target"]),
            "target_desc": [describe[target] for target in rows["target"]],
            "clip_top10_train_indices": [[one["index"] for one in each] for each in near],
            "clip_top10_train_targets": [[one["target"] for one in each] for each in near],
            "multi_label": rows["multi_label"],
            "wrong_multi_label": rows["wrong_multi_label"],
            "is_problematic": np.array(rows["is_problematic"]),
            "multi_desc": [[f"({describe[label]})" for label in labels] for labels in rows["multi_label"]],
            "wrong_multi_desc": [[f"({describe[label]})" for label in labels] for labels in rows["wrong_multi_label"]],
            "clip_top10_train_files": [[one["file"] for one in each if one["file"] is not None] for each in near],
            "clip_top10_supercls": [[name for one in each for name in self._names_of[one["target"]]] for each in near],
            "top1": np.array(rows["top1"]),
            "top1_desc": [describe[prediction] for prediction in rows["top1"]],
            "error_types": [encode(decoded) for decoded in _decisions(rows)],
        }
        return Frame(columns, np.array(rows["row"]), _attributes(rows, analysis))


def _attributes(rows: dict[str, list], analysis: ErrorAnalysis) -> dict[str, str | list[int]]:
    """What a frame says of the open-world test beside its types."""
    if analysis.open_world_skipped:
        return {OPEN_WORLD: SKIPPED}
    unknown = list(compress(rows["row"], rows["provisional"]))
    return {UNKNOWN_ROWS: unknown} if unknown else {}


def _decisions(rows: dict[str, list]) -> list[DecidedImage]:
    notes: dict[str | None, int] = {None: NO_NOTE} | {note.name: code for code, note in enumerate(NOTES)}
    names = ("error_type", "note", "matching", "superclasses", "num_prompts", "top5")
    return [
        DecidedImage(CODES[name], notes[note], matching, above, prompts, [Proposal(**one) for one in best or ()])
        for name, note, matching, above, prompts, best in zip(*(rows[name] for name in names), strict=True)
    ]
