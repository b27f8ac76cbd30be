"""Which flags of report.py go together."""

import argparse

from imagenet_errors.dataset.label_sets import STANDARD
from imagenet_errors.paths import PUBLISHED_TABLES

OF_MODELS = ("compare", "errors", "fiftyone", "output", "picture", "sensitivity")  # that need a model


def check_flags(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with status 2 where flags do not go together."""
    if not (args.model or args.predictions or args.runs):
        _check_without_model(parser, args)
    lists_errors = args.page or args.errors or args.fiftyone
    if args.model_name and not args.predictions:
        parser.error("--model_name goes with --predictions")
    if args.runs and (args.compare or lists_errors):
        parser.error("--compare, --page, --errors and --fiftyone go with --model or --predictions")
    if args.runs and len(args.runs) == 1:
        parser.error("--runs takes at least two models")
    if (args.sensitivity or args.labels != STANDARD) and (args.runs or args.compare or args.picture or lists_errors):
        parser.error("--labels and --sensitivity go with one model, and with no picture, page or list of errors")
    if args.images and not (args.page or args.fiftyone):
        parser.error("--images goes with --page or --fiftyone")
    if args.embed_images and not (args.page and args.images):
        parser.error("--embed_images goes with --page and --images, the folder of the images")
    if args.fiftyone and not args.images:
        parser.error("--fiftyone needs --images, the folder of the images")


def _check_without_model(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends with status 2 but for the page of all models."""
    if not args.page:
        parser.error("give --model, --predictions or --runs; or --page alone, for a page of all analysed models")
    given = [flag for flag in OF_MODELS if getattr(args, flag)]
    defaults = {"format": "text", "labels": STANDARD, "reference": PUBLISHED_TABLES}
    given += [flag for flag, default in defaults.items() if getattr(args, flag) != default]
    if given:
        parser.error(f"--{given[0]} needs --model, --predictions or --runs")
