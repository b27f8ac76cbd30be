"""Validation images in archives: a tar archive is read in place; compressed forms are copied to one, once.

A compressed tar archive and the shards of a Parquet table can be read from their beginning only, while a run needs the
images in the order of their classes.
"""

import gzip
import logging
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagenet_errors import locks
from imagenet_errors.errors import InputError, describe_exception
from imagenet_errors.files import check_room, fingerprint
from imagenet_errors.formats import image_tar
from imagenet_errors.inference.image_folders import is_validation_image
from imagenet_errors.inference.stored_images import StoredImage
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress

log = logging.getLogger(__name__)

AGAIN = "download or copy it again"
ReadImages = Callable[[Sequence[Path]], Iterator[tuple[str, bytes]]]


@dataclass(frozen=True)
class ArchiveForm:
    """A form of archives of validation images.

    Attributes:
        suffixes: What the name of such a file ends with.
        patterns: The names of those that are found in a folder.
        read_images: Reads (path of the image, its bytes) from the beginning of the files to their end; None where
            images are read in place.
    """

    suffixes: tuple[str, ...]
    patterns: tuple[str, ...]
    read_images: ReadImages | None = None

    def find_files(self, place: Path) -> list[Path]:
        """The files of this form in a folder, or the file that `place` is."""
        if place.is_file():
            return [place] if place.name.endswith(self.suffixes) else []
        return sorted(path for pattern in self.patterns for path in place.glob(pattern) if path.is_file())

    def list_images(self, artefacts: Artefacts, files: Sequence[Path]) -> list[tuple[str, StoredImage]]:
        """(path in the archive, image) of all validation images. Raises `InputError` for a damaged file."""
        if self.read_images is not None:
            return list_tar(copy_images(artefacts, files, self.read_images), image_tar.ADVICE_ON_COPY)
        return [image for file in files for image in list_tar(file)]


def list_tar(path: Path, advice: str = AGAIN) -> list[tuple[str, StoredImage]]:
    """(name, image) of the validation images in a tar archive; `advice` is for a damaged one.

    Raises:
        InputError: where it is damaged, incomplete, or holds links.
    """
    members = [member for member in image_tar.list_members(path, advice) if is_validation_image(member.name)]
    link = next((member for member in members if not member.isreg() or member.issparse()), None)
    if link:
        raise InputError(f"{path}: {link.name} is a link, not an image: make the archive without links")
    return [(member.name, StoredImage(str(path), member.offset_data, member.size, member.name)) for member in members]


def copy_images(artefacts: Artefacts, files: Sequence[Path], read_images: ReadImages) -> Path:
    """The tar archive of the images of `files`, written unless that was done since these changed.

    Raises:
        InputError: for a damaged file, or too little room.
    """
    path = artefacts.copied_images("imagenet")
    stats = [(str(file.resolve()), file.stat()) for file in files]
    source = fingerprint([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    if image_tar.read_source(path) == source:
        return path
    with locks.locked(artefacts.root, f"imagenet/{path.name}"):
        if image_tar.read_source(path) != source:
            check_room(path.parent, sum(stat.st_size for _, stat in stats))
            log.info(f"{files[0]} is compressed, so its images are copied to {path}, which is done once")
            image_tar.write_copy(path, show_progress(read_images(files), "copying images"), source)
    return path


def read_compressed_tars(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the validation images in tar archives that gzip compressed."""
    for path in files:
        try:
            with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
                for member in archive:
                    if is_validation_image(member.name):
                        content = archive.extractfile(member)
                        if content is None:
                            raise ValueError(f"{member.name} is a link")
                        yield member.name, content.read()
                while file.read(1 << 20):  # to its checksum
                    pass
        except Exception as error:  # tarfile, gzip and zlib raise many for damaged bytes
            raise InputError(
                f"{path} is not a whole compressed archive ({describe_exception(error)}): {AGAIN}"
            ) from None


def read_parquet(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """(`<label>/<name>`, bytes) of the images in the shards of Hugging Face's imagenet-1k."""
    import pyarrow.parquet as pq

    for path in files:
        try:
            for batch in pq.ParquetFile(path).iter_batches(64, columns=["image", "label"]):
                for row in batch.to_pylist():
                    name = f"{row['label']:05d}/{Path(row['image']['path']).name}"
                    if not is_validation_image(name):
                        raise InputError(
                            f"{path} has an image named {name}, not ILSVRC2012_val_<number>: use the validation shards"
                        )
                    yield name, row["image"]["bytes"]
        except InputError:
            raise
        except Exception as error:  # pyarrow raises many for damaged bytes; others for other columns
            raise InputError(
                f"{path} is not a whole Parquet table with the columns image (bytes, path) and label"
                f" ({describe_exception(error)}): {AGAIN}"
            ) from None


FORMS = (
    ArchiveForm((".tar",), ("ILSVRC2012_img_val.tar", "val_images.tar")),
    ArchiveForm(
        (".tar.gz", ".tgz"), ("ILSVRC2012_img_val.tar.gz", "val_images.tar.gz", "val_images.tgz"), read_compressed_tars
    ),
    ArchiveForm((".parquet",), ("validation-*.parquet", "val-*.parquet"), read_parquet),
)
