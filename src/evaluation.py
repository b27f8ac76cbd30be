"""Type every top-1 error of every predicted model, collect the paper's tables, list the most common errors."""

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from imagenet_errors import cli, terminal
from imagenet_errors.error_types import CODES_BY_FLAG
from imagenet_errors.errors import InputError
from imagenet_errors.paths import Artefacts, error_types_picture

if TYPE_CHECKING:
    from imagenet_errors.analysis.context import DatasetContext
    from imagenet_errors.analysis.model_files import ModelFiles
    from imagenet_errors.formats.error_analyses import ErrorAnalysis

STEPS = ("perform_error_analysis", "collect_results", "count_spurious_correlation_pairs", "list_most_common_errors")
SORT_KEYS = ("top1", "mla", "model", *CODES_BY_FLAG)


def parse_args() -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_datasets()
    steps = parser.add_argument_group("steps, in the order in which they run")
    add_step = partial(steps.add_argument, action="store_true")
    add_step("--perform_error_analysis", help="type every error, per model")
    add_step("--collect_results", help="write the stats tables and their picture")
    add_step("--count_spurious_correlation_pairs", help="count the spurious pairs that are mistakes")
    add_step("--list_most_common_errors", help="write a list of them over all models, per type")
    add_step("--compare_with_experts", help="type the mistakes that experts typed, and compare")
    steps.add_argument("--explain", metavar="FILE", help="explain why this image got its error type; needs --model")
    parser.add_argument("--model", help="the model whose prediction is explained")
    parser.add_open_world()
    source = "of ImageNet's multi-labels: the official JSON file, else our table of them; or tensorflow-datasets"
    parser.add_argument("--multi_label_source", choices=["json", "tfds"], default="json", help=source)
    add_switch = partial(parser.add_argument, action="store_true")
    add_switch("--without_neighbours", help="do not store each image's ten nearest training images")
    add_switch("--with_reference_models", help="tables and lists count vit3b and greedysoups as well")
    add_switch("--force", help="accept an accuracy on ImageNet below 0.5 %%")
    parser.add_argument("--jobs", type=cli.positive, help="threads and processes; default: as many as processors")
    parser.add_results_dir()
    add_printing(parser)
    args = parser.parse_args()
    check(parser, args)
    return args


def add_printing(parser: cli.Parser) -> None:
    printed = parser.add_argument_group("what is printed")
    listed = f"list only {' | '.join(CODES_BY_FLAG)}"
    printed.add_argument("--error_type", type=cli.one_of("error type", CODES_BY_FLAG), help=listed)
    printed.add_argument("--print", action="store_true", help="the lists of most common errors, not only their paths")
    sort = f"the models of the table: {' | '.join(SORT_KEYS)}"
    printed.add_argument("--sort", default="top1", type=cli.one_of("sort key", SORT_KEYS), help=sort)
    printed.add_argument("--top", default=40, type=cli.positive, help="how many models the table has at most")


def check(parser: cli.Parser, args: argparse.Namespace) -> None:
    """Refuse flags that do not go together."""
    if bool(args.explain) != bool(args.model) or (args.explain and len(args.dataset) > 1):
        parser.error("--explain FILE and --model M go together, with one --dataset")
    for flag in ("error_type", "print"):
        if getattr(args, flag) and not args.list_most_common_errors:
            parser.error(f"--{flag} goes with --list_most_common_errors")
    if args.multi_label_source == "tfds" and args.dataset != ["imagenet"]:
        parser.error("--multi_label_source tfds goes with --dataset imagenet")
    if args.compare_with_experts and args.dataset != ["imagenet"]:
        parser.error("--compare_with_experts goes with --dataset imagenet")
    if not (args.explain or args.compare_with_experts or any(getattr(args, step) for step in STEPS)):
        parser.error(f"nothing to do: give --explain, --compare_with_experts or one of --{', --'.join(STEPS)}")


def main() -> None:
    if False in [evaluate(args) for args in cli.split_datasets(parse_args())]:
        sys.exit(1)


def evaluate(args: argparse.Namespace) -> bool:
    """Do the steps asked for on one dataset; returns whether all models are counted, or the others were named."""
    from imagenet_errors.analysis import experts, explain, study
    from imagenet_errors.analysis.context import load_context

    artefacts, left_out = Artefacts(args.artefacts_dir), list[str]()
    unreadable = convert_archives(artefacts, args)
    if not args.compare_with_experts:
        artefacts.require_models(args.dataset)
    sources = (args.dataset, args.multi_label_source, args.open_world)
    context = load_context(artefacts, *sources, args.list_most_common_errors, args.force)
    models = study.load_models(context)
    context.report()
    if args.perform_error_analysis:
        study.perform_error_analysis(models, not args.without_neighbours, args.jobs)
        for remark in experts.check_imagenet_m(models):
            cli.log.info(remark)
    if any(getattr(args, step) for step in STEPS):
        analyses, left_out = study.select_finished(models, args.with_reference_models, unreadable)
        use_analyses(context, models, analyses, args)
    if args.compare_with_experts:
        experts.compare_and_write(context, args.results_dir)
    if args.explain:
        print("\n".join(explain.explain(context, args.explain, args.model)))
    if left_out:
        cli.log.info(f"{args.dataset}: {len(left_out)} of {len(models)} models are left out: {left_out[0]}")
    return not left_out


def convert_archives(artefacts: Artefacts, args: argparse.Namespace) -> dict[str, str]:
    """Bring archived analyses into our form; returns {model: message} of those of the dataset that are unreadable."""
    from imagenet_errors.paper_archive.convert import check_converted, convert

    if not (args.perform_error_analysis or args.collect_results):
        check_converted(artefacts, args.dataset)
        return {}
    if args.dataset == "imagenet-a":  # its tables repeat what models do on ImageNet
        convert(artefacts, "imagenet", args.jobs, not args.without_neighbours)
    unreadable = convert(artefacts, args.dataset, args.jobs, not args.without_neighbours)
    if unreadable and len(unreadable) == len(artefacts.models(args.dataset)):
        raise InputError(f"no archived analysis can be read: {next(iter(unreadable.values()))}")
    return unreadable


def use_analyses(
    context: "DatasetContext", models: "list[ModelFiles]", analyses: "list[ErrorAnalysis]", args: argparse.Namespace
) -> None:
    """Count, list and print what the finished analyses found; draw it where tables are written."""
    from imagenet_errors.analysis import collecting, common_errors, summary_table
    from imagenet_errors.models.architectures import read_architectures
    from imagenet_errors.plots import error_bars

    arch_groups = {name: arch.group for name, arch in read_architectures(context.artefacts).items()}
    tables = collecting.collect_tables(models, analyses, args.multi_label_source, arch_groups)
    summary = summary_table.summarise(context, analyses, tables)
    if args.collect_results:
        collecting.write_tables(context, tables, analyses, args.results_dir)
    if args.count_spurious_correlation_pairs:
        pairs = common_errors.find_spurious_mistakes(context.counted_images, analyses, context.relations.spurious)
        print(f"Spurious correlations pairs that appear as a mistake: {len(pairs)}")
    if args.list_most_common_errors:
        lists = common_errors.write_lists(context, analyses, args.error_type, args.results_dir)
        print(*(text if args.print else f"{path}\n" for path, text in lists.items()), sep="", end="")
    print("", summary_table.render(summary, args.sort, args.top, terminal.get_width()), sep="\n")
    if args.collect_results:
        path = error_types_picture(args.results_dir, context.dataset)
        error_bars.draw(summary.models, summary.titles, summary.counts, summary.remarks, summary.heading, path)
        cli.log.info(f"drew {path}")


if __name__ == "__main__":
    cli.run(main)
