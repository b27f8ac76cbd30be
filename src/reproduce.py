"""From the paper's archive to its tables, lists, figures and notebooks, and what agrees with the published tables."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from imagenet_errors import cli
from imagenet_errors.errors import InputError
from imagenet_errors.paths import ARCHIVED_DATASETS, PUBLISHED_TABLES, Artefacts

SOURCE = Path(__file__).resolve().parent
NOT_FETCHED = "without the official annotations the ImageNet-M columns stay empty"


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="the archive as you have it: artefacts.tar.gz or models-<dataset>.tar.gz; default: it is downloaded",
    )
    parser.add_argument(
        "--reference", type=Path, default=PUBLISHED_TABLES, help="folder of the stats tables to compare with"
    )
    parser.add_results_dir()
    parser.add_argument("--jobs", type=cli.positive, help="processes; default: as many as processors")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    start = time.monotonic()
    artefacts = Artefacts(args.artefacts_dir.resolve())
    args.results_dir = args.results_dir.resolve()
    get_files(artefacts, args.archive)
    datasets = find_datasets(artefacts)
    left_out = make_results(artefacts, datasets, args)
    left_out += write_pages(artefacts, datasets, args.results_dir)
    num_differing = compare(datasets, args.results_dir, args.reference)
    seconds = time.monotonic() - start
    print(f"everything is in {args.results_dir}, after {seconds:.0f} s", *left_out, sep="\n  left out: ")
    if num_differing or left_out:
        sys.exit(1)


def get_files(artefacts: Artefacts, archive: Path | None) -> None:
    """Take the archive from its file; or else download it, and what goes with it."""
    where = ("--artefacts_dir", artefacts.root)
    if archive is None:
        run("download_artefacts", "--what", "archive", *where)
        if run("download_artefacts", "--what", "annotations", "mistakes", *where, may_fail=True):
            cli.log.info(NOT_FETCHED)
        return
    from imagenet_errors.public_files import find_archived_dataset

    what = () if find_archived_dataset(archive) else ("--what", "archive")
    run("download_artefacts", *what, "--from_file", archive.resolve(), *where)


def find_datasets(artefacts: Artefacts) -> list[str]:
    """The datasets that there are analyses of; another is named."""
    found = [name for name in ARCHIVED_DATASETS if artefacts.archive(name).is_file() or artefacts.models(name)]
    if not found:
        raise InputError(
            f"{artefacts.root} has no analyses of {' or '.join(ARCHIVED_DATASETS)}: give the archive with --archive"
        )
    for name in ARCHIVED_DATASETS:
        if name not in found:
            cli.log.info(f"{artefacts.root} has no analyses of {name}: its results are left out")
    return found


def make_results(artefacts: Artefacts, datasets: list[str], args: argparse.Namespace) -> list[str]:
    """Tables, lists and figures; returns what is incomplete."""
    jobs = () if args.jobs is None else ("--jobs", args.jobs)
    where = ("--artefacts_dir", artefacts.root, "--results_dir", args.results_dir, *jobs)
    steps = ("--collect_results", "--list_most_common_errors")
    has_left_out = run("evaluation", "--dataset", *datasets, *steps, *where, may_leave_out=True)
    left_out = ["models, named above"] if has_left_out else []
    figures = ("--dataset", *datasets, "--stats_dir", args.results_dir, *where)
    return left_out + (["figures"] if run("utils_plot", *figures, may_fail=True) else [])


def write_pages(artefacts: Artefacts, datasets: list[str], results_dir: Path) -> list[str]:
    """Execute the notebooks and write them as HTML pages; returns a line for each that failed."""
    from imagenet_errors.notebooks.pages import run_notebooks

    parameters = {
        "analyse_results_imagenet": {"stats_dir": str(results_dir)},
        "analyse_results_imagenet-a": {"stats_dir": str(results_dir)},
        "dough_bagel_eval": {"artefacts_dir": str(artefacts.root)},
        "explore_dataset": {"artefacts_dir": str(artefacts.root)},
    }
    absent = {f"analyse_results_{name}" for name in ARCHIVED_DATASETS if name not in datasets}
    notebooks = {path.stem: parameters.get(path.stem, {}) for path in sorted(SOURCE.glob("*.ipynb"))}
    chosen = {name: values for name, values in notebooks.items() if name not in absent}
    return run_notebooks(SOURCE, chosen, results_dir / "notebooks")


def compare(datasets: list[str], results_dir: Path, reference: Path) -> int:
    """Print what agrees with the reference, and write which cells do not; returns how many differ."""
    from imagenet_errors.analysis.agreement import COLUMNS, compare_tables
    from imagenet_errors.files import write_csv

    num_differing = 0
    for dataset in datasets:
        agreement = compare_tables(results_dir, reference, dataset)
        print(*agreement.report(), sep="\n")
        num_differing += len(agreement.differing)
        if agreement.cells:
            path = results_dir / "agreement" / f"{dataset}.csv"
            write_csv(path, COLUMNS, [vars(cell) for cell in agreement.cells])
            cli.log.info(f"wrote {path}: {len(agreement.cells):,} cells that do not agree")
    return num_differing


def run(script: str, *arguments: object, may_fail: bool = False, may_leave_out: bool = False) -> int:
    """Run a script of this folder, and show the command; returns its exit status, which may be 1 if it may leave out.

    Raises:
        InputError: where it cannot do what it should; the script said why.
    """
    command = [f"{script}.py", *map(str, arguments)]
    cli.log.info(f"$ python src/{' '.join(command)}")
    sys.stdout.flush()
    status = subprocess.run([sys.executable, SOURCE / command[0], *command[1:]]).returncode
    if status and not may_fail and not (status == 1 and may_leave_out):
        raise InputError(f"{command[0]} ended with status {status}: see above")
    return status


if __name__ == "__main__":
    cli.run(main)
