"""Import predictions that other tools wrote: tables (CSV, TSV, JSON, Parquet) or arrays (npz, npy, pt, safetensors)."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors import cli
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError
from imagenet_errors.models import own_models
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts

if TYPE_CHECKING:
    import numpy as np


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file of predictions")
    parser.add_dataset()
    parser.add_argument(
        "--model_name", help="the model's name; several files are then its parts; default: the file's name"
    )
    parser.add_argument("--arch", help="its architecture, e.g. resnet")
    parser.add_argument("--training_data", help="its corpus, e.g. 'ImageNet-21k (14M)'")
    parser.add_argument("--num_params", type=cli.positive, help="its number of parameters")
    how = parser.add_argument_group("how the files are read")
    how.add_argument("--file_column", metavar="NAME", help="the column or array of image names")
    how.add_argument("--class_column", metavar="NAME", help="the column or array of predictions")
    how.add_argument(
        "--order",
        choices=["file_number", "class_folder"],
        help="of images in arrays without names: by validation file number, or by class folder and then file name;"
        " default: found by accuracy",
    )
    how.add_argument("--label_offset", type=int, default=0, metavar="N", help="added to class ids, e.g. -1")
    how.add_argument(
        "--classes",
        metavar="FILE",
        help="the order of the classes: a file with a WordNet id a line; or text (0, 1, 10, 100, ...), or imagenet-a"
        " (its 200 classes)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace other predictions of the same name")
    parser.add_argument("--force", action="store_true", help="accept an accuracy on ImageNet below 0.5 %%")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from imagenet_errors.importing.importer import Importer, Options

    artefacts = Artefacts(args.artefacts_dir)
    names = ("order", "label_offset", "classes", "file_column", "class_column", "overwrite", "force")
    options = Options(**{name: getattr(args, name) for name in names}, read_tensors=read_tensors)
    importer = Importer(artefacts, DATASETS[args.dataset], options)
    models = list(list_models(artefacts, args))
    failures = []
    for record, files in models:
        try:
            print(importer.import_model(record, files, args.num_params), flush=True)
        except InputError as error:
            failures.append(error)
            if len(models) > 1:
                cli.log.info(f"{record.model_id}: not imported, {error}")
    if len(failures) == len(models) == 1:
        raise failures[0]
    if failures:
        cli.log.info(f"{len(failures)} of {len(models)} models are not imported")
        sys.exit(1)


def list_models(artefacts: Artefacts, args: argparse.Namespace) -> Iterator[tuple[ModelRecord, list[Path]]]:
    """Each model with its files: one a file, or one of all files where --model_name is given."""
    seen: dict[str, Path] = {}
    for files in [args.files] if args.model_name else [[file] for file in args.files]:
        record = own_models.describe_predictions(artefacts, files[0], args.model_name, args.arch, args.training_data)
        other = seen.setdefault(record.dir_id, files[0])
        if other != files[0]:
            raise InputError(f"{other} and {files[0]} are both of {record.model_id}: give --model_name to join them")
        yield record, files


def read_tensors(path: Path) -> "dict[str, np.ndarray]":
    from imagenet_errors.inference.tensor_files import read_tensors

    return read_tensors(path)


if __name__ == "__main__":
    cli.run(main)
