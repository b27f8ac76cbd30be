"""What report.py writes besides the report: pictures, pages and lists of errors."""

import argparse
import logging

from imagenet_errors.analysis.analysed_models import AnalysedModel
from imagenet_errors.analysis.context import DatasetContext

log = logging.getLogger(__name__)


def write_outputs(context: DatasetContext, models: list[AnalysedModel], args: argparse.Namespace) -> None:
    """Write what the flags --picture, --page, --errors and --fiftyone ask for, and name it in the log."""
    if args.picture:
        from imagenet_errors.reporting.pictures import draw

        draw(context, models, args.reference, args.picture)
        log.info(f"wrote {args.picture}")
    if args.page:
        _write_page(context, models, args)
    if args.errors or args.fiftyone:
        _export_errors(context, models, args)


def _write_page(context: DatasetContext, models: list[AnalysedModel], args: argparse.Namespace) -> None:
    from imagenet_errors.analysis.reference import find_reference
    from imagenet_errors.pages.error_page import write_error_page

    reference = find_reference(args.dataset, args.reference)
    write_error_page(context, models, reference, args.page, args.images, args.embed_images)
    log.info(f"wrote {args.page}")


def _export_errors(context: DatasetContext, models: list[AnalysedModel], args: argparse.Namespace) -> None:
    from imagenet_errors.analysis.browse import find_errors
    from imagenet_errors.reporting.exports import write_errors_csv, write_fiftyone

    errors = find_errors(context, models)
    if args.errors:
        write_errors_csv(errors, args.errors)
        log.info(f"wrote {args.errors}: {len(errors):,} rows")
    if args.fiftyone:
        number = write_fiftyone(errors, context.classes, args.images, args.fiftyone)
        log.info(f"wrote {args.fiftyone}: {number:,} of {len(errors):,} images, those that are in {args.images}")
