"""Download the public files, convert archives of analyses into our format and back, and check an artefacts folder."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from imagenet_errors import cli
from imagenet_errors.errors import InputError
from imagenet_errors.paths import Artefacts
from imagenet_errors.progress import show_progress

if TYPE_CHECKING:
    from imagenet_errors.public_files import PublicFile


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__ or "")
    files = parser.add_argument_group("public files")
    what = "archive (is also unpacked) | annotations | mistakes | logits | tables | all, or one file's name in --list"
    files.add_argument("--what", nargs="+", metavar="NAME", help=what)
    files.add_argument("--list", action="store_true", help="print what is present, missing, damaged or incomplete")
    files.add_argument("--from_file", type=Path, metavar="FILE", help="copy a file that you downloaded by other means")
    files.add_argument("--overwrite", action="store_true", help="replace existing files that differ")
    files.add_argument("--attempts", type=cli.positive, default=5, help="how often in a row a server may fail")
    folder = parser.add_argument_group("artefacts folder")
    folder.add_argument("--verify", action="store_true", help="check every file and print what is wrong")
    folder.add_argument("--results_dir", type=Path, help="--verify also checks the tables and lists in this folder")
    folder.add_argument("--convert_archives", action="store_true", help="convert the paper's analyses")
    folder.add_argument("--export_archive", type=Path, metavar="FILE", help="write your analyses in the paper's format")
    parser.add_datasets()
    folder.add_argument("--without_neighbours", action="store_true", help="convert without nearest training images")
    folder.add_argument("--jobs", type=cli.positive, help="processes; default: as many as processors")
    args = parser.parse_args()
    steps = ("what", "list", "from_file", "verify", "convert_archives", "export_archive")
    if not any(getattr(args, step) for step in steps):
        parser.error(f"nothing to do: give one of --{', --'.join(steps)}")
    if args.export_archive and len(set(args.dataset)) > 1:
        parser.error("--export_archive writes the archive of one dataset: give one name to --dataset")
    return args


def main() -> None:
    args = parse_args()
    steps = {
        handle_public_files: args.what or args.list or args.from_file,
        convert_archives: args.convert_archives,
        export_archive: args.export_archive,
        verify_folder: args.verify,
    }
    if False in [step(Artefacts(args.artefacts_dir), args) for step, is_wanted in steps.items() if is_wanted]:
        sys.exit(1)


def handle_public_files(artefacts: Artefacts, args: argparse.Namespace) -> bool:
    """List, copy or download them. Returns False if files that differ were kept."""
    from imagenet_errors import public_files

    files = public_files.select_files(public_files.load_public_files(artefacts), args.what or ["all"])
    if args.list:
        found = [public_files.check_public_file(artefacts, file) for file in show_progress(files, "checking")]
        for file, (state, size, note, _) in zip(files, found, strict=True):
            print(f"{state:<10} {size:>14,}  {file.name:<21} {file.path}: {' '.join(note.split())}")
        return True
    if not args.from_file:
        return download_files(artefacts, files, args.overwrite, args.attempts)
    if dataset := public_files.find_archived_dataset(args.from_file):
        cli.log.info(public_files.copy_archive(artefacts, dataset, args.from_file, args.overwrite))
        return True
    file = public_files.identify_file(files, args.from_file)
    if file.what == "archive":
        public_files.check_source(file, args.from_file)
        return unpack_archive(args.from_file, file, artefacts, args.overwrite)
    cli.log.info(public_files.copy_file(artefacts, file, args.from_file, args.overwrite))
    return True


def download_files(artefacts: Artefacts, files: "list[PublicFile]", overwrite: bool, attempts: int) -> bool:
    """Download each file, whether or not others fail; unpack the archive. Returns False if files were kept."""
    from imagenet_errors import public_files
    from imagenet_errors.download import RetryPolicy

    failures, is_complete = [], True
    for file in files:
        try:
            cli.log.info(public_files.fetch_file(artefacts, file, overwrite, RetryPolicy(attempts)))
            if file.what == "archive":
                is_complete &= unpack_archive(artefacts.root / file.path, file, artefacts, overwrite)
        except InputError as error:
            if len(files) == 1:
                raise
            failures.append(file.name)
            cli.log.info(f"{file.name}: {error}")
    if failures:
        raise InputError(f"{len(failures)} of {len(files)} files were not downloaded: {', '.join(failures)}")
    return is_complete


def unpack_archive(archive: Path, file: "PublicFile", artefacts: Artefacts, overwrite: bool) -> bool:
    """Unpack a public file from where it lies. Returns False if files of the folder differ and were kept."""
    from imagenet_errors import public_files
    from imagenet_errors.paper_archive import tar_reader

    done = tar_reader.unpack(archive, artefacts.root, overwrite)
    public_files.record_unpacked(artefacts, file, done.hashes)
    cli.log.info(f"{archive}: {done.written:,} files unpacked into {artefacts.root}, {done.equal:,} existed already")
    for name in done.kept:
        cli.log.info(f"{artefacts.root / name} differs from the archive's and was kept: --overwrite replaces it")
    return not done.kept


def convert_archives(artefacts: Artefacts, args: argparse.Namespace) -> bool:
    """Convert, and record open-world outcomes. Returns False if an analysis is damaged or refused; it was named."""
    from imagenet_errors.paper_archive import archived_outcomes, convert

    faults: dict[str, str] = {}
    for dataset in dict.fromkeys(args.dataset):
        if found := convert.find(artefacts, dataset):
            faults |= convert.convert(artefacts, dataset, args.jobs, not args.without_neighbours)
        if not archived_outcomes.update(artefacts, dataset):
            archived_outcomes.explain_absence(artefacts, dataset, bool(found))
    return not faults


def export_archive(artefacts: Artefacts, args: argparse.Namespace) -> bool:
    from imagenet_errors.analysis import context, study
    from imagenet_errors.paper_archive import export

    export.check(artefacts, args.dataset[0], args.export_archive)
    analyses, _ = study.select_finished(study.load_models(context.load_context(artefacts, args.dataset[0])), True)
    export.export(artefacts, args.dataset[0], [one.model for one in analyses], args.export_archive, args.jobs)
    return True


def verify_folder(artefacts: Artefacts, args: argparse.Namespace) -> bool:
    """Print the findings, then how many files were checked. Returns whether all files are sound."""
    from imagenet_errors import verify

    states: Counter[str] = Counter()
    for finding in verify.verify(artefacts, args.results_dir):
        states[finding.state] += 1
        if finding.state != verify.SOUND:
            print(f"{finding.state:<8}  {finding.path}: {' '.join(finding.note.split())}")
    print(f"{artefacts.root}: {', '.join(f'{count:,} {state}' for state, count in states.most_common()) or 'empty'}")
    return set(states) <= {verify.SOUND}


if __name__ == "__main__":
    cli.run(main)
