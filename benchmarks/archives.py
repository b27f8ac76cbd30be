"""What the paper's archive of 962 models costs: made by varying two, then converted and collected by the scripts.

PYTHONPATH=src:. python benchmarks/archives.py models-imagenet.tar.gz --models 962
"""

import argparse
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from imagenet_errors.paper_archive import tar_reader
from imagenet_errors.paper_archive.pickled_frames import Frame, read_frame, write_frame
from imagenet_errors.paths import REPOSITORY, Artefacts


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="an archive of at least two models, in the paper's form")
    parser.add_argument("--models", type=int, default=962, help="how many to make; each takes 16 MB")
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        artefacts = Artefacts(Path(folder) / "artefacts")
        pickles = [
            member.file.read() for member in tar_reader.read_members(args.archive) if member.name.endswith(".pkl")
        ]
        floor = min(seconds(lambda: pickle.loads(pickles[0])) for _ in range(3))  # ours to trust: we were given them
        make(artefacts, [read_frame(content, args.archive) for content in pickles[:2]], args.models)
        size = total(artefacts, "*.pkl")
        common = ("--artefacts_dir", artefacts.root)
        converted = run("convert", "download_artefacts", "--convert_archives", *common)
        small = total(artefacts, "*.parquet")
        print(f"{size / 1e6 / args.models:.1f} MB a model became {small / 1e6 / args.models:.2f} MB")
        print(
            f"converting a model takes {converted / args.models / floor:.2f} times as long as pandas takes to read it"
        )
        steps = ("--collect_results", "--list_most_common_errors", "--results_dir", folder)
        collected = run("collect and list", "evaluation", *steps, *common)
        print(
            f"collecting a model takes {collected / args.models / floor:.2f} times as long as pandas takes to read it"
        )


def make(artefacts: Artefacts, frames: list[Frame], models: int) -> None:
    """Write so many analyses, each with some rows of the one model and the other rows of the other."""
    names = ("top1", "top1_desc", "error_types")
    generator = np.random.default_rng(0)
    for number in range(models):
        chosen = (generator.random(len(frames[0].index)) < generator.random()).astype(int).tolist()
        varied = {
            name: [(first, second)[which] for which, first, second in zip(chosen, *cells, strict=True)]
            for name, cells in ((name, [frame.columns[name] for frame in frames]) for name in names)
        }
        varied["top1"] = np.array(varied["top1"])
        path = artefacts.archived("imagenet", f"varied--{number:03d}")
        path.parent.mkdir(parents=True)
        path.write_bytes(write_frame(replace(frames[0], columns=frames[0].columns | varied)))


def run(what: str, script: str, *flags) -> float:
    """Run a script; prints and returns what it took."""
    command = [sys.executable, REPOSITORY / "src" / f"{script}.py", *flags]
    taken = seconds(lambda: subprocess.run(list(map(str, command)), check=True, capture_output=True))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{what}: {taken:.1f} s, at most {peak:.2f} GB in a process")
    return taken


def total(artefacts: Artefacts, pattern: str) -> int:
    return sum(path.stat().st_size for path in artefacts.root.rglob(pattern))


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
