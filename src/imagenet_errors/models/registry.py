"""Which models a run is about: those of our tables, of the installed timm, and the user's own."""

from collections.abc import Callable

from imagenet_errors.errors import InputError
from imagenet_errors.models import own_models
from imagenet_errors.models.model_table import ModelRecord, load_records, read_names, select
from imagenet_errors.paths import Artefacts


def choose(
    artefacts: Artefacts,
    modules: list[str],
    names: list[str] | None,
    find_architecture: Callable[[Artefacts, str], ModelRecord | None],
) -> list[ModelRecord]:
    """The models that `--modules` and `--model` ask for: of the tables, of timm, or functions in Python files.

    Args:
        artefacts: Where the tables are.
        modules: Groups, `all` (the paper's models) or `everything`.
        names: Models, wildcards, files of names; all of the modules where None.
        find_architecture: Finds `NAME` in the installed timm; called for a `timm/NAME` that the tables lack.

    Raises:
        InputError: for a module or a name that there is not.
    """
    records = {record.model_id: record for record in load_records(artefacts)}
    if names is None:
        return select(list(records.values()), modules, None)
    chosen = []
    for name in read_names(names):
        record = own_models.from_function(name)
        if name.startswith("timm/") and not any(known.is_called(name) for known in records.values()):
            record = find_architecture(artefacts, name.removeprefix("timm/"))
        if record and records.setdefault(record.model_id, record).builder != record.builder:
            raise InputError(f"{name} would be named {record.model_id}, like another model: use --model_name")
        chosen.append(record.model_id if record else name)
    return select(list(records.values()), modules, chosen)
