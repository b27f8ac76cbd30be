"""Which report is on which models."""

from pathlib import Path

from imagenet_errors.analysis.analysed_models import AnalysedModel, describe_inputs
from imagenet_errors.analysis.context import DatasetContext
from imagenet_errors.analysis.pair_report import report_pair
from imagenet_errors.analysis.profile import make_profile
from imagenet_errors.analysis.profile_report import report_profile
from imagenet_errors.analysis.reference import find_reference
from imagenet_errors.analysis.reports import Report
from imagenet_errors.analysis.sensitivity import vary_choices
from imagenet_errors.analysis.sensitivity_report import report_sensitivity
from imagenet_errors.analysis.several_report import report_runs, report_several
from imagenet_errors.dataset.label_sets import find_label_set


def make_report(
    context: DatasetContext,
    models: list[AnalysedModel],
    reference: Path,
    labels: str,
    *,
    are_runs: bool,
    is_sensitivity: bool,
) -> Report:
    """The profile of one model, or a comparison of several.

    Args:
        context: Of the dataset.
        models: Analysed on its images.
        reference: Folder of the tables that a profile is compared with.
        labels: Name of the label set of a profile.
        are_runs: Whether the models are runs of one.
        is_sensitivity: Whether the report on one model is how its shares move with labels and gate.

    Raises:
        InputError: as `find_reference`, `find_label_set` and the reports do.
    """
    if are_runs:
        report = report_runs(context, models)
    elif len(models) > 1:
        report = (report_pair if len(models) == 2 else report_several)(context, models)
    elif is_sensitivity:
        report = report_sensitivity(vary_choices(context, models[0]))
    else:
        label_set = find_label_set(context.artefacts, labels)
        report = report_profile(make_profile(context, models[0], find_reference(context.dataset, reference), label_set))
    return report.with_content(made_from=describe_inputs(models))
