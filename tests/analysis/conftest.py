"""Small runs without the cost that is the same in each."""

import pytest

from tests.helpers.quick_runs import committed_superclasses, proposers, quick  # noqa: F401


@pytest.fixture
def analyse(quick, small):  # noqa: F811
    """Run evaluation.py on the small folder, in this process: both main steps, or those of `flags`."""

    def run(*flags):
        flags = flags or ("--perform_error_analysis", "--collect_results")
        return quick("evaluation", "--artefacts_dir", small, "--results_dir", small / "results", *flags)

    return run
