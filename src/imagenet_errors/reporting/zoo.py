"""All analysed models of an artefacts folder as one page."""

import logging
from pathlib import Path
from typing import Any

from imagenet_errors.analysis import study
from imagenet_errors.analysis.collecting import StatsTables, collect_tables
from imagenet_errors.analysis.context import load_context
from imagenet_errors.formats import stats_tables
from imagenet_errors.models.architectures import read_architectures
from imagenet_errors.pages.page_parts import check_name
from imagenet_errors.pages.zoo_page import write_zoo_page
from imagenet_errors.paths import PUBLISHED_TABLES, Artefacts
from imagenet_errors.plots.drawing import DrawingOptions
from imagenet_errors.plots.figure_table import Figure, load_figures
from imagenet_errors.plots.model_frames import WITH_FIGURES, Frames, derive_columns, load_frames
from imagenet_errors.plots.page_data import describe_behind, describe_dataset
from imagenet_errors.plots.points import find_empty_columns

log = logging.getLogger(__name__)


def write_zoo(
    artefacts: Artefacts, dataset: str, open_world: str, path: Path, images: Path | None, num_embedded: int
) -> bool:
    """Write the page of all analysed models of a dataset; those that are not analysed are named in the log.

    Args:
        artefacts: The folder.
        dataset: Of its models.
        open_world: As for `load_context`.
        path: Of the page.
        images: The folder that has the images; None for cards without pictures.
        num_embedded: Of how many images of each gallery the page holds a thumbnail.

    Returns:
        Whether all models of the folder are on the page.

    Raises:
        InputError: where no model is analysed, and as `write_zoo_page`.
    """
    check_name(path)
    artefacts.require_models(dataset)
    context = load_context(artefacts, dataset, open_world=open_world)
    context.report()
    models = study.load_models(context)
    analyses, left_out = study.select_finished(models, with_reference=True)
    arch_groups = {name: arch.group for name, arch in read_architectures(artefacts).items()}
    tables = collect_tables(models, analyses, "json", arch_groups)
    figures = describe_figures(artefacts, dataset, tables)
    write_zoo_page(context, models, analyses, figures, left_out, path, images, num_embedded)
    log.info(f"wrote {path}: {len(analyses):,} models")
    return not left_out


def describe_figures(artefacts: Artefacts, dataset: str, tables: StatsTables) -> dict[str, Any] | None:
    """The main figures of a dataset, those with a line; None for a dataset without figures.

    Where the tables have no numbers for them, as without the open-world test, the other figures stand in.

    Returns:
        What `describe_dataset` gives, but for `figures` in place of families, each with `behind`, the points of the
        paper's models; `missing`, how many main figures are left out; and `is_stand_in`, whether others stand in.
    """
    if dataset not in WITH_FIGURES:
        return None
    frames = derive_columns(
        {group: stats_tables.from_rows(dataset, rows) for group, rows in tables.rows.items()}, dataset
    )
    of_dataset = [figure for figure in load_figures(artefacts) if figure.dataset == dataset]
    main = [figure for figure in of_dataset if figure.inflections]
    drawable = _select_drawable(main, frames)
    chosen = drawable or _select_drawable([figure for figure in of_dataset if not figure.inflections], frames)
    described = describe_dataset(dataset, chosen, frames, DrawingOptions(Path()))
    published = load_frames(PUBLISHED_TABLES, dataset)
    behind = {figure.file_stem: describe_behind(figure, published) for figure in chosen}
    figures = [figure for family in described.pop("families") for figure in family["figures"]]
    return described | {
        "figures": [figure | {"behind": behind[figure["stem"]]} for figure in figures],
        "missing": len(main) - len(drawable),
        "is_stand_in": not drawable,
    }


def _select_drawable(figures: list[Figure], frames: Frames) -> list[Figure]:
    """Those that the tables have numbers for."""
    return [figure for figure in figures if not find_empty_columns(figure, frames)]
