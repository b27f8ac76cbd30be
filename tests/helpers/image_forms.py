"""Validation images in all the forms that people have them in."""

import io
import os
import tarfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_errors.dataset.classes import load_classes
from imagenet_errors.dataset.image_names import name_validation_file, read_number
from tests.conftest import COMMITTED

SHARDS = 3


class ValidationImage(NamedTuple):
    """An image: the number of its file, its class, and a file with its bytes."""

    number: int
    class_id: int
    file: Path

    @property
    def name(self) -> str:
        return name_validation_file(self.number)

    @property
    def wnid(self) -> str:
        return load_wnids()[self.class_id]

    @property
    def name_with_wnid(self) -> str:
        return self.name.replace(".JPEG", f"_{self.wnid}.JPEG")


@cache
def load_wnids() -> tuple[str, ...]:
    return load_classes(COMMITTED).wnids


def find_validation_images(folder: Path) -> list[ValidationImage]:
    """Those in class folders that are named by WordNet id, in the order of their numbers."""
    wnids = load_wnids()
    files = folder.glob("n*/*")
    return sorted(ValidationImage(read_number(file.name), wnids.index(file.parent.name), file) for file in files)


def link(images: Iterable[ValidationImage], folder: Path, name: Callable[[ValidationImage], str]) -> Path:
    """Hard links, or copies on another disk."""
    for image in images:
        path = folder / name(image)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(image.file, path)
        except OSError:
            path.write_bytes(image.file.read_bytes())
    return folder


def write_tar(
    images: Iterable[ValidationImage], path: Path, name: Callable[[ValidationImage], str], mode: str = "w"
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for image in images:
            content = image.file.read_bytes()
            member = tarfile.TarInfo(name(image))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_parquet(images: list[ValidationImage], folder: Path, **options) -> Path:
    """Shards as `ILSVRC/imagenet-1k` has them on Hugging Face."""
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(images) // SHARDS)
    for shard in range(SHARDS):
        some = images[shard * size : (shard + 1) * size]
        rows = [{"bytes": image.file.read_bytes(), "path": image.name_with_wnid} for image in some]
        table = pa.table({"image": rows, "label": [image.class_id for image in some]})
        pq.write_table(table, folder / f"validation-{shard:05d}-of-{SHARDS:05d}.parquet", row_group_size=100, **options)
    return folder


FORMS: dict[str, Callable[[list[ValidationImage], Path], Path]] = {
    "class folders": lambda images, at: link(images, at / "val", lambda one: f"{one.wnid}/{one.name}").parent,
    "class folders, val itself": lambda images, at: link(images, at, lambda one: f"{one.wnid}/{one.name}"),
    "numbered folders": lambda images, at: link(images, at, lambda one: f"{one.class_id}/{one.name}"),
    "padded numbers": lambda images, at: link(images, at / "val", lambda one: f"{one.class_id:05d}/{one.name}").parent,
    "flat folder": lambda images, at: link(images, at, lambda one: one.name),
    "flat folder, Hugging Face's names": lambda images, at: (
        link(images, at / "val", lambda one: one.name_with_wnid).parent
    ),
    "tar": lambda images, at: write_tar(images, at / "ILSVRC2012_img_val.tar", lambda one: one.name).parent,
    "tar, named": lambda images, at: write_tar(images, at / "any.tar", lambda one: f"val/{one.name}"),
    "Hugging Face's archive": lambda images, at: write_tar(
        images, at / "data" / "val_images.tar.gz", lambda one: one.name_with_wnid, "w:gz"
    ).parents[1],
    "Hugging Face's Parquet": lambda images, at: write_parquet(images[::-1], at / "data").parent,
}
