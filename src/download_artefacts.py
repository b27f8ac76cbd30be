"""Fetch the public files that the analysis stands on, and the paper's archive."""

import sys
from pathlib import Path

from imagenet_errors import cli
from imagenet_errors.errors import InputError
from imagenet_errors.storage import Artefacts


def parse_args():
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--what",
        nargs="+",
        metavar="NAME",
        help="archive: the paper's, which is also unpacked | annotations | mistakes: lists of them by experts |"
        " logits: of the reference models | tables: the paper's | all; or a single file by its name in --list",
    )
    parser.add_argument("--list", action="store_true", help="print what is present, missing, damaged or incomplete")
    parser.add_argument("--from_file", type=Path, metavar="FILE", help="take a file that you fetched by other means")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there and differ")
    parser.add_argument("--attempts", type=cli.positive, default=5, help="how often in a row a server may fail")
    args = parser.parse_args()
    if not (args.what or args.list or args.from_file):
        parser.error("nothing to do: give --what, --from_file or --list")
    return args


def main() -> None:
    args = parse_args()
    from imagenet_errors import public_data

    artefacts = Artefacts(args.artefacts_dir)
    chosen = public_data.choose(public_data.load(artefacts), args.what or ["all"])
    if args.list:
        print_list(artefacts, chosen)
        return
    if args.from_file:
        file = public_data.of_file(chosen, args.from_file)
        complete = take(artefacts, file, args.from_file, args.overwrite)
    else:
        complete = fetch(artefacts, chosen, args.overwrite, args.attempts)
    if not complete:
        sys.exit(1)


def print_list(artefacts: Artefacts, files: list) -> None:
    from imagenet_errors import public_data

    found = [public_data.status(artefacts, file) for file in cli.progress(files, "check")]
    for file, (state, size, note) in zip(files, found, strict=True):
        print(f"{state:<10} {size:>14,}  {file.name:<21} {file.path}: {' '.join(note.split())}")


def fetch(artefacts: Artefacts, files: list, overwrite: bool, attempts: int) -> bool:
    """Download the files, each whether or not others fail; unpack the archive. Returns False where files were kept."""
    from imagenet_errors import public_data
    from imagenet_errors.download import Patience

    failures, complete = {}, True
    for file in files:
        try:
            cli.say(public_data.fetch(artefacts, file, overwrite, Patience(attempts)))
            if file.what == "archive":
                complete &= unpack(artefacts.root / file.path, artefacts, overwrite)
        except InputError as error:
            failures[file.name] = str(error)
            if len(files) > 1:
                cli.say(f"{file.name}: {error}")
    if len(files) == 1 and failures:
        raise InputError(*failures.values())
    if failures:
        raise InputError(f"{len(failures)} of {len(files)} files were not fetched: {', '.join(failures)}")
    return complete


def take(artefacts: Artefacts, file, source: Path, overwrite: bool) -> bool:
    """Put a file in its place, or unpack it where it lies if it is the archive. Returns False where files were kept."""
    from imagenet_errors import public_data

    if file.what != "archive":
        cli.say(public_data.take(artefacts, file, source, overwrite))
        return True
    public_data.verify_source(file, source)
    return unpack(source, artefacts, overwrite)


def unpack(archive: Path, artefacts: Artefacts, overwrite: bool) -> bool:
    """Unpack an archive into the artefacts folder. Returns False where files of the folder differ and were kept."""
    from imagenet_errors import tarballs

    done = tarballs.unpack(archive, artefacts.root, overwrite)
    cli.say(f"{archive}: {done.written:,} files unpacked into {artefacts.root}, {done.equal:,} were there already")
    for name in done.kept:
        cli.say(f"{artefacts.root / name} differs from the archive's and was kept: --overwrite replaces it")
    return not done.kept


if __name__ == "__main__":
    cli.run(main)
