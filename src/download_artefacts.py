"""Fetch the public files that the analysis stands on, bring archives into our form and back, verify all of it."""

import sys
from pathlib import Path

from imagenet_errors import cli
from imagenet_errors.dataset.dataset_table import DATASETS
from imagenet_errors.errors import InputError
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress


def parse_args():
    parser = cli.Parser(__doc__)
    fetching = parser.add_argument_group("public files")
    fetching.add_argument(
        "--what",
        nargs="+",
        metavar="NAME",
        help="archive: the paper's, which is also unpacked | annotations | mistakes: lists of them by experts |"
        " logits: of the reference models | tables: the paper's | all; or a single file by its name in --list",
    )
    fetching.add_argument("--list", action="store_true", help="print what is present, missing, damaged or incomplete")
    fetching.add_argument("--from_file", type=Path, metavar="FILE", help="take a file that you fetched by other means")
    fetching.add_argument("--overwrite", action="store_true", help="replace files that are there and differ")
    fetching.add_argument("--attempts", type=cli.positive, default=5, help="how often in a row a server may fail")
    folder = parser.add_argument_group("the artefacts folder")
    folder.add_argument("--verify", action="store_true", help="check every file, and name what is not as it should be")
    folder.add_argument("--results_dir", type=Path, help="--verify checks the tables in this folder as well")
    folder.add_argument(
        "--convert_archives",
        action="store_true",
        help="bring the paper's analyses into our form; evaluation.py does too",
    )
    folder.add_argument("--export_archive", type=Path, metavar="FILE", help="write your analyses in the paper's form")
    parser.add_dataset()
    folder.add_argument(
        "--without_neighbours", action="store_true", help="convert without the nearest training images: smaller files"
    )
    folder.add_argument("--jobs", type=cli.positive, help="processes; default: as many as processors")
    args = parser.parse_args()
    steps = ("what", "list", "from_file", "verify", "convert_archives", "export_archive")
    if not any(getattr(args, step) for step in steps):
        parser.error(f"nothing to do: give one of --{', --'.join(steps)}")
    return args


def main() -> None:
    args = parse_args()
    artefacts = Artefacts(args.artefacts_dir)
    complete = True
    if args.what or args.list or args.from_file:
        complete &= public_files(artefacts, args)
    if args.convert_archives:
        complete &= convert_archives(artefacts, args)
    if args.export_archive:
        export_archive(artefacts, args)
    if args.verify:
        complete &= verify(artefacts, args.results_dir)
    if not complete:
        sys.exit(1)


def public_files(artefacts: Artefacts, args) -> bool:
    """List or get them. Returns False where files were kept."""
    from imagenet_errors import public_files

    chosen = public_files.choose(public_files.load(artefacts), args.what or ["all"])
    if args.list:
        print_list(artefacts, chosen)
        return True
    if args.from_file:
        return take(artefacts, public_files.of_file(chosen, args.from_file), args.from_file, args.overwrite)
    return fetch(artefacts, chosen, args.overwrite, args.attempts)


def convert_archives(artefacts: Artefacts, args) -> bool:
    """Returns False where an analysis is damaged or refused; it was named."""
    from imagenet_errors.paper_archive import convert

    found = convert.find(artefacts, args.dataset)
    if not found:
        raise InputError(f"{artefacts.root} holds no archived analyses of {args.dataset}: --what archive fetches them")
    neighbours = not args.without_neighbours
    return not convert.convert(artefacts, args.dataset, args.jobs, neighbours)


def export_archive(artefacts: Artefacts, args) -> None:
    from imagenet_errors.analysis.study import Study
    from imagenet_errors.paper_archive import export

    if args.export_archive.name[-7:] != ".tar.gz":
        raise InputError(f"--export_archive {args.export_archive}: name a file that ends in .tar.gz")
    analyses, _ = Study.load(artefacts, args.dataset).finished(reference=True)
    models = [analysis.model for analysis in analyses]
    export.export(artefacts, args.dataset, models, args.export_archive, args.jobs)


def verify(artefacts: Artefacts, results_dir: Path | None) -> bool:
    """Print what is not as it should be, then how much was checked. Returns whether all is sound."""
    from collections import Counter
    from itertools import chain

    from imagenet_errors import verify

    if not artefacts.root.is_dir():
        raise InputError(f"{artefacts.root} is no folder: there is nothing to verify")
    states = Counter()
    found = [verify.verify(artefacts)]
    if results_dir is not None:
        found += [verify.verify_tables(artefacts, results_dir, dataset) for dataset in DATASETS]
    for finding in chain.from_iterable(found):
        states[finding.state] += 1
        if finding.state != verify.SOUND:
            print(f"{finding.state:<8}  {finding.path}: {' '.join(finding.note.split())}")
    checked = ", ".join(f"{count:,} {state}" for state, count in states.most_common())
    print(f"{artefacts.root}: {checked or 'empty'}")
    return set(states) <= {verify.SOUND}


def print_list(artefacts: Artefacts, files: list) -> None:
    from imagenet_errors import public_files

    found = [public_files.status(artefacts, file) for file in show_progress(files, "check")]
    for file, (state, size, note) in zip(files, found, strict=True):
        print(f"{state:<10} {size:>14,}  {file.name:<21} {file.path}: {' '.join(note.split())}")


def fetch(artefacts: Artefacts, files: list, overwrite: bool, attempts: int) -> bool:
    """Download the files, each whether or not others fail; unpack the archive. Returns False where files were kept."""
    from imagenet_errors import public_files
    from imagenet_errors.download import RetryPolicy

    failures, complete = {}, True
    for file in files:
        try:
            cli.log.info(public_files.fetch(artefacts, file, overwrite, RetryPolicy(attempts)))
            if file.what == "archive":
                complete &= unpack(artefacts.root / file.path, artefacts, overwrite)
        except InputError as error:
            failures[file.name] = str(error)
            if len(files) > 1:
                cli.log.info(f"{file.name}: {error}")
    if len(files) == 1 and failures:
        raise InputError(*failures.values())
    if failures:
        raise InputError(f"{len(failures)} of {len(files)} files were not fetched: {', '.join(failures)}")
    return complete


def take(artefacts: Artefacts, file, source: Path, overwrite: bool) -> bool:
    """Put a file in its place, or unpack it where it lies if it is the archive. Returns False where files were kept."""
    from imagenet_errors import public_files

    if file.what != "archive":
        cli.log.info(public_files.take(artefacts, file, source, overwrite))
        return True
    public_files.verify_source(file, source)
    return unpack(source, artefacts, overwrite)


def unpack(archive: Path, artefacts: Artefacts, overwrite: bool) -> bool:
    """Unpack an archive into the artefacts folder. Returns False where files of the folder differ and were kept."""
    from imagenet_errors.paper_archive import tar_reader

    done = tar_reader.unpack(archive, artefacts.root, overwrite)
    cli.log.info(f"{archive}: {done.written:,} files unpacked into {artefacts.root}, {done.equal:,} were there already")
    for name in done.kept:
        cli.log.info(f"{artefacts.root / name} differs from the archive's and was kept: --overwrite replaces it")
    return not done.kept


if __name__ == "__main__":
    cli.run(main)
