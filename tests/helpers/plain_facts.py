"""What is known besides the models, read by plain code that shares nothing with `src/`."""

import csv
import json
from collections import Counter
from pathlib import Path

from imagenet_errors.paths import REPOSITORY

COMMITTED_FOLDER = REPOSITORY / "artefacts"
GROUPS = ("all", "organism", "artifact", "other")


def read_class_ids(folder: Path = COMMITTED_FOLDER) -> dict[str, int]:
    """{WordNet id: class id}."""
    return json.loads((folder / "imagenet_wnet_id_to_target.json").read_text())


def plain_lemmas(folder: Path = COMMITTED_FOLDER) -> dict[str, set[str]]:
    """{WordNet id: lemma names of the class and of all above it}."""
    lemmas, above = {}, {}
    with open(folder / "wordnet_closure.tsv", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            lemmas[row["offset"]] = set(row["lemmas"].split())
            above[row["offset"]] = (row["hypernyms"] + " " + row["instance_hypernyms"]).split()

    def of(offset):
        return lemmas[offset].union(*(of(up) for up in above[offset]))

    return {wnid: of(str(int(wnid[1:]))) for wnid in read_class_ids(folder)}


def plain_superclasses(folder: Path = COMMITTED_FOLDER) -> dict[int, set[str]]:
    """{class id: names of its superclasses, or its WordNet id where it is in none}."""
    definitions, ids = json.loads((folder / "superclasses.json").read_text()), read_class_ids(folder)
    return {
        ids[wnid]: {name for name, lists in definitions.items() if any(set(wanted) <= lemmas for wanted in lists)}
        or {wnid}
        for wnid, lemmas in plain_lemmas(folder).items()
    }


def plain_group_classes() -> dict[str, set[int]]:
    """{group: its class ids}."""
    ids, lemmas = read_class_ids(), plain_lemmas()
    organism, artifact = ({ids[wnid] for wnid in ids if name in lemmas[wnid]} for name in ("organism", "artifact"))
    everything = set(range(1000))
    return {"all": everything, "organism": organism, "artifact": artifact, "other": everything - organism - artifact}


def plain_annotations(folder: Path) -> tuple[dict[str, list[int]], set[str]]:
    """{file: accepted class ids}, and the problematic files."""
    content, ids = json.loads((folder / "annotations/human_accuracy_v3.0.0.json").read_text()), read_class_ids()
    accepted = {
        file: [ids[wnid] for wnid in lists.get("correct", []) + lists.get("unclear", [])]
        for file, lists in content["initial_annots"].items()
    }
    return accepted, set(content["problematic_images"])


def plain_spurious_pairs(superclasses_of: dict[int, set[str]]) -> set[frozenset[int]]:
    """Classes that co-occur in at least two images and share no superclass; they are exactly the published ones."""
    with open(COMMITTED_FOLDER / "cooccurrence_counts.csv", newline="") as file:
        often = [(int(row["class_a"]), int(row["class_b"])) for row in csv.DictReader(file) if int(row["count"]) >= 2]
    return {frozenset(pair) for pair in often if not superclasses_of[pair[0]] & superclasses_of[pair[1]]}


def read_non_prototypical() -> set[str]:
    """The names of the images that experts call non-prototypical."""
    return set((COMMITTED_FOLDER / "non_prototypical_files.txt").read_text().split())


def plain_mla(images: list[tuple[int, bool]]) -> float:
    """Multi-label accuracy in percent of (original label, counts as correct)."""
    totals, correct = Counter(target for target, _ in images), Counter(target for target, counts in images if counts)
    return 100 * sum(correct[target] / total for target, total in totals.items()) / len(totals)
