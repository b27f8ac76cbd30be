"""Type every top-1 error of every predicted model, collect the paper's tables, list the most common errors."""

from collections import Counter
from pathlib import Path

from imagenet_errors import cli
from imagenet_errors.error_types import AFTER_OPEN_WORLD, CODES, CODES_BY_FLAG, ERROR_CODES, ERROR_TYPES
from imagenet_errors.errors import InputError
from imagenet_errors.paths import REPOSITORY, Artefacts
from imagenet_errors.progress import show_progress

STEPS = (
    "perform_error_analysis",
    "collect_results",
    "count_spurious_correlation_pairs",
    "list_most_common_errors",
)
SKIPPED = "counts of out-of-vocabulary errors are missing and those after it provisional"


def parse_args():
    parser = cli.Parser(__doc__)
    parser.add_dataset()
    steps = parser.add_argument_group("steps, in the order in which they run")
    steps.add_argument("--perform_error_analysis", action="store_true", help="type every error, per model")
    steps.add_argument("--collect_results", action="store_true", help="write the stats tables")
    steps.add_argument(
        "--count_spurious_correlation_pairs", action="store_true", help="count the spurious pairs that are mistakes"
    )
    steps.add_argument("--list_most_common_errors", action="store_true", help="list them, per type, over all models")
    steps.add_argument("--explain", metavar="FILE", help="say why this image got its type; needs --model")
    steps.add_argument(
        "--compare_with_experts", action="store_true", help="type the mistakes that experts typed, and compare"
    )
    parser.add_argument(
        "--error_type", type=cli.one_of("error type", CODES_BY_FLAG), help=f"list only {' | '.join(CODES_BY_FLAG)}"
    )
    parser.add_argument("--model", help="the model whose prediction is explained")
    parser.add_argument(
        "--open_world",
        choices=["auto", "clip", "skip"],
        default="auto",
        help="the open-world test: auto runs it where compute_clip_embeddings.py has written its files",
    )
    parser.add_argument(
        "--without_neighbours", action="store_true", help="do not store each image's ten nearest training images"
    )
    parser.add_argument(
        "--multi_label_source",
        choices=["json", "tfds"],
        default="json",
        help="ImageNet's multi-labels: the official JSON file, or tensorflow-datasets where it is prepared",
    )
    parser.add_argument(
        "--with_reference_models", action="store_true", help="tables and lists count vit3b and greedysoups as well"
    )
    parser.add_argument("--results_dir", type=Path, default=REPOSITORY, help="where tables, lists and pictures go")
    args = parser.parse_args()
    if bool(args.explain) != bool(args.model):
        parser.error("--explain FILE and --model M go together")
    if args.error_type and not args.list_most_common_errors:
        parser.error("--error_type goes with --list_most_common_errors")
    if args.multi_label_source == "tfds" and args.dataset != "imagenet":
        parser.error("--multi_label_source tfds goes with --dataset imagenet")
    if args.compare_with_experts and args.dataset != "imagenet":
        parser.error("--compare_with_experts goes with --dataset imagenet")
    if not (args.explain or args.compare_with_experts or any(getattr(args, step) for step in STEPS)):
        parser.error(f"nothing to do: give --explain, --compare_with_experts or one of --{', --'.join(STEPS)}")
    return args


def main() -> None:
    args = parse_args()
    from imagenet_errors.analysis.study import Study

    artefacts = Artefacts(args.artefacts_dir)
    unreadable = convert_archives(artefacts, args.dataset, not args.without_neighbours)
    if unreadable and len(unreadable) == len(artefacts.models(args.dataset)):
        raise InputError(f"no archived analysis can be read: {next(iter(unreadable.values()))}")
    study = Study.load(artefacts, args.dataset, args.multi_label_source, args.open_world)
    if not study.models and not args.compare_with_experts:
        raise InputError(f"{study.artefacts.dataset_dir(study.dataset)} has no predictions: run collect_predictions.py")
    cli.log.info(f"{args.dataset}: {study.extent}, {len(study.images):,} of them annotated")
    for remark in study.borrowed:
        cli.log.info(remark)
    if study.open_world is None and study.predicted:
        cli.log.info(f"the open-world test is skipped{why(study)}: {SKIPPED}")
    if args.perform_error_analysis:
        analyse(study, not args.without_neighbours)
    if any(getattr(args, step) for step in STEPS):
        analyses, faults = study.finished(args.with_reference_models, unreadable)
        rows = collect(study, analyses)
        if args.collect_results:
            write_tables(study, rows, args.results_dir)
        if args.count_spurious_correlation_pairs:
            count_pairs(study, analyses)
        if args.list_most_common_errors:
            list_common_errors(study, analyses, args.error_type, args.results_dir)
        summarise(study, analyses, rows["all"], args.results_dir)
        if faults:
            raise InputError(f"{len(faults)} of {len(study.models)} models are left out: {faults[0]}")
    if args.compare_with_experts:
        compare_with_experts(study, args.results_dir)
    if args.explain:
        from imagenet_errors.analysis.explain import explain

        print("\n".join(explain(study, args.explain, args.model)))


def convert_archives(artefacts: Artefacts, dataset: str, neighbours: bool) -> dict[str, str]:
    """Bring archived analyses into our form; returns {model: message} of those of the dataset that are unreadable."""
    from imagenet_errors.paper_archive import convert

    if dataset == "imagenet-a":  # its tables repeat what models do on ImageNet
        convert.convert(artefacts, "imagenet", neighbours=neighbours)
    return convert.convert(artefacts, dataset, neighbours=neighbours)


def why(study) -> str:
    """For want of which file the open-world test is skipped, and what writes it."""
    if not study.skipped_for:
        return ""
    command = f"run compute_clip_embeddings.py --dataset {study.dataset}"
    return f" (there is no {study.skipped_for[0]}: {command}; outcomes stored earlier stand)"


def analyse(study, neighbours: bool) -> None:
    """Type every model's errors; one whose predictions are unusable is named later and does not stop the others."""
    from imagenet_errors.analysis.experts import check_imagenet_m

    outcomes = Counter()
    columns = study.image_columns(neighbours)
    tested = study.test_open_world(show_progress(study.models, "open-world test")) if study.open_world else None

    def analyse_one(model: str, wait: bool) -> bool:
        try:
            outcome = study.analyse(model, columns, tested, wait)
        except InputError:
            outcome = "not analysed"
        if outcome is not None:
            outcomes[outcome] += 1
            if outcome.startswith("analysed again"):
                cli.log.info(f"{model}: {outcome}")
        return outcome is not None

    elsewhere = [model for model in show_progress(study.models, "analysing") if not analyse_one(model, wait=False)]
    for model in elsewhere:
        analyse_one(model, wait=True)
    cli.log.info("; ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    for remark in check_imagenet_m(study):
        cli.log.info(remark)


def collect(study, analyses) -> dict[str, list[dict]]:
    """The rows of the stats tables, by group."""
    from imagenet_errors.analysis import counting
    from imagenet_errors.models.architectures import read_architectures

    arch_groups = {arch: known.group for arch, known in read_architectures(study.artefacts).items()}
    described = [study.described(analysis.model, arch_groups) for analysis in analyses]
    return {
        group: [counting.stats_row(study.population, *model, group) for model in zip(analyses, described, strict=True)]
        for group in study.population.groups
    }


def write_tables(study, rows: dict[str, list[dict]], results_dir: Path) -> None:
    from imagenet_errors.files import write_csv, write_json
    from imagenet_errors.formats.stats_tables import columns
    from imagenet_errors.paths import made_from, stats_table

    for group, of_group in rows.items():
        path = stats_table(results_dir, study.dataset, group)
        write_csv(path, columns(study.dataset), of_group)
        cli.log.info(f"wrote {path}: {len(of_group)} models")
    write_json(made_from(path), study.made_from([row["model_dir_id"] for row in of_group]))


def count_pairs(study, analyses) -> None:
    from imagenet_errors.analysis.common_errors import spurious_pairs_as_mistakes

    pairs = spurious_pairs_as_mistakes(study.population, analyses, study.relations.spurious)
    print(f"Spurious correlations pairs that appear as a mistake: {len(pairs)}")


def list_common_errors(study, analyses, error_type: str | None, results_dir: Path) -> None:
    from imagenet_errors.analysis.common_errors import listing
    from imagenet_errors.files import write_text
    from imagenet_errors.paths import common_errors_list

    untested = sum(analysis.open_world_skipped for analysis in analyses)
    skipped = untested == len(analyses)
    if skipped and error_type == ERROR_TYPES[CODES["out_of_vocabulary"]].flag:
        raise InputError(f"--error_type {error_type}: nothing to list, for the open-world test was skipped")
    texts = {}
    for flag in [error_type] if error_type else CODES_BY_FLAG:
        path = common_errors_list(results_dir, study.dataset, flag)
        if skipped and CODES_BY_FLAG[flag] == CODES["out_of_vocabulary"]:
            stale = f"; {path} is of another run" if path.exists() else ""
            cli.log.info(f"{flag}: not listed, for the open-world test was skipped{stale}")
            continue
        proposals = study.stored_proposals if CODES_BY_FLAG[flag] == CODES["out_of_vocabulary"] else None
        texts[path] = listing(study.population, analyses, CODES_BY_FLAG[flag], study.vocabulary, proposals)
        write_text(path, texts[path])
        depends = untested and CODES_BY_FLAG[flag] in (CODES["out_of_vocabulary"], *AFTER_OPEN_WORLD)
        remark = f": provisional, {untested} of {len(analyses)} models without the open-world test" if depends else ""
        cli.log.info(f"wrote {path}{remark}")
    print("".join(texts.values()), end="")


def compare_with_experts(study, results_dir: Path) -> None:
    """Print how far we agree with the experts, and write who differs where."""
    from imagenet_errors.analysis import experts
    from imagenet_errors.analysis.experts import COLUMNS
    from imagenet_errors.files import write_csv
    from imagenet_errors.paths import expert_table

    comparison = experts.compare(study)
    print(*experts.report(comparison), sep="\n")
    rows = {
        "confusion": experts.confusion_rows(comparison),
        "differences": experts.difference_rows(comparison, study),
    }
    for name, columns in COLUMNS.items():
        path = expert_table(results_dir, study.dataset, name)
        write_csv(path, columns, rows[name])
        cli.log.info(f"wrote {path}: {len(rows[name])} rows")


def summarise(study, analyses, rows: list[dict], results_dir: Path) -> None:
    """Print the table of all models and draw it."""
    import numpy as np

    from imagenet_errors.analysis.counting import counts
    from imagenet_errors.analysis.summary import summary
    from imagenet_errors.paths import error_types_picture
    from imagenet_errors.plots.error_bars import draw

    profiles = np.array([counts(study.population, analysis, "all") for analysis in analyses])
    skipped = [analysis.open_world_skipped for analysis in analyses]
    counted = f"{study.dataset}: {study.extent}, {study.population.counted.sum():,} of them annotated and unproblematic"
    path = error_types_picture(results_dir, study.dataset)
    remarks = {CODES["out_of_vocabulary"]: "skipped"} | dict.fromkeys(AFTER_OPEN_WORLD, "at most")
    draw(
        [analysis.model for analysis in analyses],
        [ERROR_TYPES[code].title for code in ERROR_CODES],
        profiles[:, ERROR_CODES],
        [remarks.get(code, "") if any(skipped) else "" for code in ERROR_CODES],
        counted,
        path,
    )
    print(f"\n{counted}", *summary(rows, profiles, skipped), sep="\n")
    cli.log.info(f"drew {path}")


if __name__ == "__main__":
    cli.run(main)
