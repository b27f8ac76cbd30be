"""make_artefacts.py makes the committed files again, byte for byte, from their sources."""

import shutil

import pytest

import make_artefacts
from imagenet_errors.maintenance import public_sources
from imagenet_errors.paths import REPOSITORY
from tests.conftest import refused

WORDNET = any(path.exists() for path in public_sources.WORDNET_FILES)
MADE = {
    "vocabulary": ["imagenet_wnet_id_to_target.json", "labels_map.json", "imagenet_a_synsets.txt"],
    "wordnet": ["wordnet_closure.tsv"],
    "superclasses": ["superclasses.txt"],
    "cooccurrences": ["cooccurrence_counts.csv"],
    "non_prototypical": ["non_prototypical_files.txt"],
}


@pytest.fixture
def sources(shared, tmp_path, classes, monkeypatch):
    """An artefacts folder with the annotations; the shared samples stand in for tensorflow-datasets' label list."""
    shutil.copytree(shared / "annotations", tmp_path / "annotations", copy_function=shutil.copyfile)
    rows = (shared / "predictions" / "samples.csv").read_text().split()[1:]
    by_number = sorted(rows, key=lambda row: row.partition("/")[2])
    labels = "\n".join(row.partition("/")[0] for row in by_number)
    read = make_artefacts.read_package_text
    monkeypatch.setattr(
        make_artefacts,
        "read_package_text",
        lambda package, file: labels if package == "tensorflow_datasets" else read(package, file),
    )
    return tmp_path


@pytest.mark.parametrize("what", MADE)
def test_committed_files_are_made_again(call, sources, what):
    if what == "wordnet" and not WORDNET:
        pytest.skip("Debian's wordnet-base is not installed")
    done = call("make_artefacts", "--what", what, "--artefacts_dir", sources)
    assert done.status == 0, done.stderr
    for name in MADE[what]:
        assert (sources / name).read_bytes() == (REPOSITORY / "artefacts" / name).read_bytes()


def test_missing_source_is_refused(call, tmp_path):
    outcome = call("make_artefacts", "--what", "non_prototypical", "--artefacts_dir", tmp_path)
    assert refused(
        outcome, "vit3b_mistakes.json is missing: get it with download_artefacts.py --what mistakes, or from https://"
    )
