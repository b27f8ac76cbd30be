"""Why one image got its error type, in plain sentences: a second reader of the same decision."""

import numpy as np

from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.decision import Decisions, decide
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.open_world import OpenWorld
from imagenet_errors.dataset.annotations import NO_LABEL, AnnotatedImages
from imagenet_errors.dataset.image_names import canonical_name
from imagenet_errors.error_types import CODES, ERROR_TYPES, NO_NOTE, NOTES
from imagenet_errors.errors import InputError, describe_unknown, escape_name
from imagenet_errors.formats.error_analyses import ErrorAnalysis, Outcome, read_outcome, read_outcomes
from imagenet_errors.formats.predictions import NO_PREDICTION
from imagenet_errors.paths import model_dir_id

# What it means that a test said no, in the order of the tests. A test that cannot apply to the image says nothing.
SAID_NO = {
    "class_overlap": "The prediction is none of the classes that overlap with the original label.",
    "missing_multi_label": "The prediction is not among the accepted labels.",
    "fine_grained": "The prediction shares a superclass with no accepted label.",
    "like_target": "The prediction neither is the original label nor shares a superclass with it.",
    "co_occurs_with_target": "The prediction and the original label are no spurious pair.",
    "out_of_vocabulary": "",  # `_open_world` gives it
    "spurious_correlation": "The prediction makes a spurious pair with no accepted label.",
    "non_prototypical": "The image is not on the experts' list of non-prototypical images.",
}


def explain(context: DatasetContext, file: str, model: str) -> list[str]:
    """The lines to print for a file, by name or by class folder and name, and a model, by id or folder."""
    row = find_image(context, file)
    image = context.images[np.array([row])]
    files = ModelFiles(context, find_model(context, model))
    top1 = files.top1[[row]]
    if top1[0] == NO_PREDICTION:
        raise InputError(
            f"--explain {file}: {model} has no prediction for this image, only for {files.extent}: name one of these"
        )
    decision = decide(image, top1, context.relations)
    outcome = find_outcome(files, row) if decision.provisional[0] else None
    if outcome is not None:
        decision = decide(image, top1, context.relations, np.array([outcome.is_out_of_vocabulary]))
    accepted = image.labels[0][image.labels[0] != NO_LABEL]
    extent = f" ({files.extent})" if files.is_partial else ""
    return [
        f"{escape_name(image.files[0])}, {model}{extent}: {ERROR_TYPES[decision.error_types[0]].title}",
        f"The original label is {context.classes.describe(image.targets[0])}.",
        f"Accepted labels: {_classes(context, accepted) or 'none'}.",
        f"The prediction is {context.classes.describe(top1[0])}.",
        *_give_reason(context, image, top1, decision, _open_world(outcome, _is_skipped(files))),
        *_archive_differs(_current_analysis(files), row, decision.error_types[0]),
    ]


def explain_rows(context: DatasetContext, analysis: ErrorAnalysis, rows: np.ndarray) -> list[list[str]]:
    """Why images have the error types of an analysis, in sentences; labels and prediction are not repeated.

    Args:
        context: Of the dataset.
        analysis: Of a model that has predictions for these images.
        rows: [k] positions among the annotated images.
    """
    images, top1 = context.images[rows], analysis.top1[rows]
    reached = np.flatnonzero(decide(images, top1, context.relations).provisional)
    outcomes = dict(zip(reached.tolist(), _find_outcomes(context, analysis, rows[reached]), strict=True))
    is_found = np.zeros(len(rows), bool)
    is_found[reached] = [one is not None and one.is_out_of_vocabulary for one in outcomes.values()]
    decisions = decide(images, top1, context.relations, is_found)
    explained = []
    for at, row in enumerate(rows.tolist()):
        one = slice(at, at + 1)
        decision = Decisions(*(column[one] for column in vars(decisions).values()))
        open_world = _open_world(outcomes.get(at), analysis.open_world_skipped)
        explained.append(
            [
                *_give_reason(context, images[one], top1[one], decision, open_world),
                *_archive_differs(analysis, row, decision.error_types[0]),
            ]
        )
    return explained


def _find_outcomes(context: DatasetContext, analysis: ErrorAnalysis, rows: np.ndarray) -> list[Outcome | None]:
    """What the open-world test says of the predictions at these positions; as `find_outcome`."""
    is_stored = analysis.image_table is not None and not analysis.open_world_skipped
    if is_stored and not isinstance(context.open_world, OpenWorld):
        return read_outcomes(context.artefacts.analysis(context.dataset, analysis.model), rows)
    if context.open_world is None:
        return [None] * len(rows)
    verdicts = context.open_world.test(rows, analysis.top1[rows])
    return [verdicts.outcome(at, context.open_world.names) for at in range(len(rows))]


def _give_reason(
    context: DatasetContext, image: AnnotatedImages, top1: np.ndarray, decision: Decisions, open_world: str
) -> list[str]:
    """The sentences on the decision of one image; `open_world` is the one on that test."""
    return [
        *(["The image is problematic: it is typed, but neither counted nor listed."] if image.problematic[0] else []),
        *([f"Noted before its type: {NOTES[decision.notes[0]].title}."] if decision.notes[0] != NO_NOTE else []),
        *_tests_before(image, top1, decision, open_world),
        _deciding(context, image, int(top1[0]), decision),
    ]


def find_outcome(files: ModelFiles, row: int) -> Outcome | None:
    """What the open-world test says of a model's prediction on one image; without its files what is stored, if any."""
    context = files.context
    analysis = None if isinstance(context.open_world, OpenWorld) else _current_analysis(files)
    if analysis is not None and not analysis.open_world_skipped:
        return read_outcome(context.artefacts.analysis(context.dataset, files.model), row)
    return None if context.open_world is None else context.open_world.test_one(row, int(files.top1[row]))


def _is_skipped(files: ModelFiles) -> bool:
    """Whether nothing is known of the open-world test of the model, rather than of one of its predictions."""
    analysis = _current_analysis(files)
    return files.context.open_world is None and (analysis is None or analysis.open_world_skipped)


def _current_analysis(files: ModelFiles) -> ErrorAnalysis | None:
    analysis = files.context.analyses.read(files.model) if files.has_analysis else None
    return analysis if analysis and files.is_current(analysis) else None


def _archive_differs(analysis: ErrorAnalysis | None, row: int, decided: int) -> list[str]:
    """What to know where an archive's analysis, which tables count, has another error type."""
    if analysis is None or not analysis.is_archived or analysis.error_types[row] == decided:
        return []
    title = ERROR_TYPES[analysis.error_types[row]].title
    return [f"The archive, with superclasses of its own, has {title}: that is what tables count."]


def find_image(context: DatasetContext, file: str) -> int:
    """The position of the image among the annotated ones. Raises `InputError` where it is unknown or not annotated."""
    found = _named(file, context.images.files)
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"--explain {file}: {len(found)} images have this name, give the class folder too")
    if _named(file, context.samples.files):
        raise InputError(f"--explain {file}: this image is not annotated, so it has no error type")
    raise InputError(f"--explain {file}: not among the {len(context.samples.files):,} images of {context.dataset}")


def _named(file: str, files: np.ndarray) -> list[int]:
    """The positions of a file by name, or by class folder and name."""
    file = canonical_name(file)
    return [row for row, path in enumerate(files) if file in (path, path.rpartition("/")[2])]


def find_model(context: DatasetContext, model: str) -> str:
    if model_dir_id(model) not in context.models:
        raise InputError(f"--model: {describe_unknown('model', model_dir_id(model), context.models)}")
    return model_dir_id(model)


def _classes(context: DatasetContext, class_ids: np.ndarray) -> str:
    return "; ".join(map(context.classes.describe, class_ids))


def _open_world(outcome: Outcome | None, is_skipped: bool) -> str:
    """What the open-world test said, with its best proposals; `is_skipped`: nothing is known of it."""
    if outcome is None and is_skipped:
        return "The open-world test was skipped, so what follows is provisional."
    if outcome is None:
        return "The archive has no outcome of the open-world test for this prediction: what follows is provisional."
    if outcome.num_prompts is None:
        return "The open-world test says no; an archive stores no proposals for a no."
    if not outcome.num_prompts:
        return "The open-world test says no: no near training image is of a class that shares with the prediction."
    best = ", ".join(f"{lemma} {score:.2%}" for _, lemma, score in outcome.proposals)
    verdict = "no ImageNet class" if outcome.is_out_of_vocabulary else "an ImageNet class"
    return f"Of {outcome.num_prompts} names for what the image shows the best fits are {best}; the first is {verdict}."


def _tests_before(image: AnnotatedImages, top1: np.ndarray, decision: Decisions, open_world: str) -> list[str]:
    """A sentence for every test that could have decided before the one that did."""
    if ERROR_TYPES[decision.error_types[0]].name == "correct":
        return []
    has_labels = (image.labels != NO_LABEL).any()
    target_accepted = (image.labels == image.targets[0]).any()
    mute = set() if has_labels else {"class_overlap", "missing_multi_label", "fine_grained", "spurious_correlation"}
    mute |= {"like_target", "co_occurs_with_target"} if target_accepted else set()
    mute |= {"class_overlap", "missing_multi_label"} if top1[0] == image.targets[0] else set()
    sentences = SAID_NO | {"out_of_vocabulary": open_world}
    asked = [name for name in sentences if CODES[name] < decision.error_types[0] and name not in mute]
    if decision.error_types[0] == CODES["out_of_vocabulary"]:
        asked.append("out_of_vocabulary")
    return [sentences[name] for name in asked]


def _deciding(context: DatasetContext, image: AnnotatedImages, pred: int, decision: Decisions) -> str:
    name = ERROR_TYPES[decision.error_types[0]].name
    matching = image.labels[0][decision.matching[0]]
    others = matching if len(matching) else image.targets
    superclasses = ", ".join(context.superclasses.names_shared(pred, others))
    like_target = f"shares a superclass ({superclasses}) with" if pred != image.targets[0] else "is"
    return {
        "correct": "The prediction is the original label, and that is accepted: correct.",
        "class_overlap": "The prediction overlaps with the original label: class overlap, no real error.",
        "missing_multi_label": "The prediction is another accepted label of the image: missing multi-label.",
        "fine_grained": f"The prediction shares a superclass ({superclasses}) with {_classes(context, matching)}.",
        "like_target": f"The prediction {like_target} the original label, which is not accepted.",
        "co_occurs_with_target": "The prediction often co-occurs with the original label, which is not accepted.",
        "out_of_vocabulary": "So it shows something beside the prediction that ImageNet has no class for.",
        "spurious_correlation": f"The prediction often co-occurs with {_classes(context, matching)}.",
        "non_prototypical": "Experts call this image a non-prototypical one of its class.",
        "model_failure": "Nothing explains the error.",
    }[name]
