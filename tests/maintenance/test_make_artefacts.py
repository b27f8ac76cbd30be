"""make_artefacts.py makes the committed files again, byte for byte, from their sources."""

import shutil

import pytest

from imagenet_errors.maintenance import image_facts, public_sources
from imagenet_errors.paths import REPOSITORY
from tests.conftest import refused

WORDNET = any(path.exists() for path in public_sources.WORDNET_FILES)
MADE = {
    "vocabulary": ["imagenet_wnet_id_to_target.json", "labels_map.json", "imagenet_a_synsets.txt"],
    "wordnet": ["wordnet_closure.tsv"],
    "superclasses": ["superclasses.txt"],
    "validation_labels": ["validation_labels.csv"],
    "multi_labels": ["multi_labels.csv"],
    "real_labels": ["real_labels.csv"],
    "cooccurrences": ["cooccurrence_counts.csv"],
    "non_prototypical": ["non_prototypical_files.txt"],
}


FROM_SHARED = ("validation_labels", "multi_labels", "cooccurrences", "non_prototypical")


@pytest.fixture
def sources(shared, tmp_path, classes, monkeypatch):
    """The annotations in `tmp_path`; the shared samples stand in for tensorflow-datasets' label list."""
    shutil.copytree(shared / "annotations", tmp_path / "annotations", copy_function=shutil.copyfile)
    rows = (shared / "predictions" / "samples.csv").read_text().split()[1:]
    by_number = sorted(rows, key=lambda row: row.partition("/")[2])
    labels = "\n".join(row.partition("/")[0] for row in by_number)
    read = image_facts.read_package_text
    monkeypatch.setattr(
        image_facts,
        "read_package_text",
        lambda package, file: labels if package == "tensorflow_datasets" else read(package, file),
    )


@pytest.mark.parametrize("what", MADE)
def test_committed_files_are_made_again(call, request, tmp_path, what):
    if what in FROM_SHARED:
        request.getfixturevalue("sources")
    if what == "wordnet" and not WORDNET:
        pytest.skip("Debian's wordnet-base is not installed")
    done = call("make_artefacts", "--what", what, "--artefacts_dir", tmp_path)
    assert done.status == 0, done.stderr
    for name in MADE[what]:
        assert (tmp_path / name).read_bytes() == (REPOSITORY / "artefacts" / name).read_bytes()


@pytest.mark.parametrize(
    ("what", "file", "group"),
    [
        ("non_prototypical", "vit3b_mistakes.json", "mistakes"),
        ("multi_labels", "human_accuracy_v3.0.0.json", "annotations"),
    ],
)
def test_missing_source_is_refused(call, tmp_path, what, file, group):
    outcome = call("make_artefacts", "--what", what, "--artefacts_dir", tmp_path)
    advice = f"get it with download_artefacts.py --what {group}, or from https://"
    assert refused(outcome, f"{file} is missing: {advice}")


def test_missing_package_is_refused(call, tmp_path, monkeypatch):
    monkeypatch.setattr(image_facts, "find_spec", lambda package: None)
    outcome = call("make_artefacts", "--what", "validation_labels", "--artefacts_dir", tmp_path)
    assert refused(outcome, "tensorflow_datasets is not installed: pip install tensorflow-datasets")
