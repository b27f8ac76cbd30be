"""A page of figures of made-up tables, for the tests of the page as a file and in a browser."""

import json
from pathlib import Path

from tests.conftest import run_script
from tests.helpers.plain_figures import made_tables, write_tables

FAMILIES = ("class_overlap", "model_failures_to_mle")
COUNT = 26
HOSTILE = "made--<b>&</script>\"'<img src=x onerror=alert(1)>"  # the name of a model


def write_made_page(folder: Path) -> None:
    """Write tables of both datasets, and the page of two families in `out/`, on which made--model1 is highlighted.

    A model has a name like HTML and no number of parameters, one no training corpus, one 0 parameters; one has no error
    among the other images, so that its shares there are no points.
    """
    for dataset in ("imagenet", "imagenet-a"):
        tables = made_tables(COUNT, dataset)
        for rows in tables.values():
            rows[4] |= {"training_data": "mine", "model_dir_id": HOSTILE, "num_params": ""}
            rows[5]["training_data"] = ""
            rows[7]["num_params"] = 0
        _forgive(tables["other"][6], tables["all"][6])
        write_tables(folder, tables, dataset)
    flags = ("--interactive", "--family", *FAMILIES, "--highlight", "made/model1")
    done = run_script("utils_plot", *flags, "--stats_dir", folder, "--results_dir", folder / "out")
    assert done.returncode == 0, done.stderr


def _forgive(of_group: dict, of_all: dict) -> None:
    """Make all errors of a model in a group correct."""
    errors = of_group["num_group_top1_errors"]
    for name in [name for name in of_group if name.startswith("num_") and name != "num_params"]:
        if name not in ("num_group_samples", "num_group_correct"):
            of_all[name] -= of_group[name]
            of_group[name] = 0
    for row in (of_group, of_all):
        row["num_group_correct"] += errors


def read_data(page: str) -> dict:
    """The JSON of a page."""
    return json.loads(page.partition('<script id="data" type="application/json">')[2].partition("</script>")[0])
