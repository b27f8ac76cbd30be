"""Why one image got its error type, in plain sentences: a second reader of the same decision."""

import numpy as np

from imagenet_errors.analysis.decision import decide
from imagenet_errors.analysis.open_world import Outcome
from imagenet_errors.analysis.study import Study
from imagenet_errors.dataset.annotations import NO_LABEL
from imagenet_errors.error_types import CODES, ERROR_TYPES, NO_NOTE, NOTES
from imagenet_errors.errors import InputError, describe_unknown, escape_name
from imagenet_errors.paths import model_dir_id

# What it means that a test said no, in the order of the tests. A test that cannot apply to the image says nothing.
SAID_NO = {
    "class_overlap": "The prediction is none of the classes that overlap with the original label.",
    "missing_multi_label": "The prediction is not among the accepted labels.",
    "fine_grained": "The prediction shares a superclass with no accepted label.",
    "like_target": "The prediction neither is the original label nor shares a superclass with it.",
    "co_occurs_with_target": "The prediction and the original label are no spurious pair.",
    "out_of_vocabulary": "",  # said by _open_world
    "spurious_correlation": "The prediction makes a spurious pair with no accepted label.",
    "non_prototypical": "The image is not on the experts' list of non-prototypical images.",
}


def explain(study: Study, file: str, model: str) -> list[str]:
    """The lines to print for a file, by name or by class folder and name, and a model, by id or folder."""
    row = np.array([find_image(study, file)])
    image = study.images[row]
    folder = find_model(study, model)
    top1 = study.top1(folder)[row]
    decision = decide(image, top1, study.relations)
    says = study.open_world_on(folder, int(row[0])) if decision.provisional[0] else None
    if says is not None:
        decision = decide(image, top1, study.relations, np.array([says.out_of_vocabulary]))
    accepted = image.labels[0][image.labels[0] != NO_LABEL]
    return [
        f"{escape_name(image.files[0])}, {model}: {ERROR_TYPES[decision.kinds[0]].title}",
        f"The original label is {study.vocabulary.describe(image.targets[0])}.",
        f"Accepted labels: {_classes(study, accepted) or 'none'}.",
        f"The prediction is {study.vocabulary.describe(top1[0])}.",
        *(["The image is problematic: it is typed, but neither counted nor listed."] if image.problematic[0] else []),
        *([f"Noted before its type: {NOTES[decision.notes[0]].title}."] if decision.notes[0] != NO_NOTE else []),
        *_tests_before(image, top1, decision, _open_world(study, says)),
        _deciding(study, image, int(top1[0]), decision),
        *_otherwise(study.archived_kind(folder, int(row[0])), decision.kinds[0]),
    ]


def _otherwise(archived: int | None, decided: int) -> list[str]:
    """What to know where an archive's analysis, which tables count, has another type."""
    if archived in (None, decided):
        return []
    return [
        f"The archive, by definitions of its own, has it as {ERROR_TYPES[archived].title}: that is what tables count."
    ]


def find_image(study: Study, file: str) -> int:
    """The position of the image among the annotated ones. Raises `InputError` where it is unknown or not annotated."""
    found = _named(file, study.images.files)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"--explain {file}: {len(found)} images have this name, give the class folder too")
    if _named(file, study.samples.files):
        raise InputError(f"--explain {file}: this image is predicted but not annotated, so it has no error type")
    raise InputError(f"--explain {file}: not among the {len(study.samples.files):,} images of {study.dataset}")


def _named(file: str, files: np.ndarray) -> list[int]:
    """The positions of a file by name, or by class folder and name."""
    return [row for row, path in enumerate(files) if file in (path, path.rpartition("/")[2])]


def find_model(study: Study, model: str) -> str:
    if model_dir_id(model) not in study.models:
        raise InputError(f"--model: {describe_unknown('model', model_dir_id(model), study.models)}")
    return model_dir_id(model)


def _classes(study: Study, class_ids) -> str:
    return "; ".join(map(study.vocabulary.describe, class_ids))


def _open_world(study: Study, says: Outcome | None) -> str:
    """What the open-world test said, with its best proposals."""
    if says is None:
        return "The open-world test was skipped, so what follows is provisional."
    if says.num_prompts is None:
        return "The open-world test says no; the archive tells no more of it."
    if not says.num_prompts:
        return "The open-world test says no: no near training image is of a class that shares with the prediction."
    best = ", ".join(f"{lemma} {score:.2%}" for _, lemma, score in says.proposals)
    verdict = "no ImageNet class" if says.out_of_vocabulary else "an ImageNet class"
    return f"Of {says.num_prompts} names for what the image shows the best fits are {best}; the first is {verdict}."


def _tests_before(image, top1, decision, open_world: str) -> list[str]:
    """A sentence for every test that could have decided before the one that did."""
    if ERROR_TYPES[decision.kinds[0]].name == "correct":
        return []
    has_labels = (image.labels != NO_LABEL).any()
    target_accepted = (image.labels == image.targets[0]).any()
    mute = set() if has_labels else {"class_overlap", "missing_multi_label", "fine_grained", "spurious_correlation"}
    mute |= {"like_target", "co_occurs_with_target"} if target_accepted else set()
    mute |= {"class_overlap", "missing_multi_label"} if top1[0] == image.targets[0] else set()
    sentences = SAID_NO | {"out_of_vocabulary": open_world}
    asked = [name for name in sentences if CODES[name] < decision.kinds[0] and name not in mute]
    if decision.kinds[0] == CODES["out_of_vocabulary"]:
        asked.append("out_of_vocabulary")
    return [sentences[name] for name in asked]


def _deciding(study: Study, image, pred: int, decision) -> str:
    name = ERROR_TYPES[decision.kinds[0]].name
    matching = image.labels[0][decision.matching[0]]
    others = matching if len(matching) else image.targets
    superclasses = ", ".join(study.superclasses.names_shared(pred, others))
    like_target = f"shares a superclass ({superclasses}) with" if pred != image.targets[0] else "is"
    return {
        "correct": "The prediction is the original label, and that is accepted: correct.",
        "class_overlap": "The prediction overlaps with the original label: class overlap, no real error.",
        "missing_multi_label": "The prediction is another accepted label of the image: missing multi-label.",
        "fine_grained": f"The prediction shares a superclass ({superclasses}) with {_classes(study, matching)}.",
        "like_target": f"The prediction {like_target} the original label, which is not accepted.",
        "co_occurs_with_target": "The prediction often co-occurs with the original label, which is not accepted.",
        "out_of_vocabulary": "So it shows something beside the prediction that ImageNet has no class for.",
        "spurious_correlation": f"The prediction often co-occurs with {_classes(study, matching)}.",
        "non_prototypical": "Experts call this image a non-prototypical one of its class.",
        "model_failure": "Nothing explains the error.",
    }[name]
