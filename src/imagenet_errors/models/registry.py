"""Which models there are: those of our tables, of the installed timm, and the user's own."""

from imagenet_errors.dataset.classes import NUM_CLASSES
from imagenet_errors.errors import InputError
from imagenet_errors.inference import own_models
from imagenet_errors.models.model_table import ModelRecord, load_records, read_names, select
from imagenet_errors.models.timm_names import Rules
from imagenet_errors.paths import MODELS, Artefacts

TIMM_NEW = "timm_new"


def choose(artefacts: Artefacts, modules: list[str], names: list[str] | None) -> list[ModelRecord]:
    """The models that `--modules` and `--model` ask for: of the tables, of timm, or functions in Python files.

    Raises:
        InputError: for a module or a name that there is not.
    """
    records = {record.model_id: record for record in all_records(artefacts)}
    if names is None:
        return select(list(records.values()), modules, None)
    exact = []
    for name in read_names(names):
        if name in records:
            exact.append(name)
            continue
        record = own_models.from_function(name) or find_architecture(artefacts, name)
        if record and records.setdefault(record.model_id, record).builder != record.builder:
            raise InputError(f"{name} would be named {record.model_id}, like another model: use --model_name")
        exact.append(record.model_id if record else name)
    return select(list(records.values()), modules, exact)


def all_records(artefacts: Artefacts) -> list[ModelRecord]:
    """The models of our tables, and those of the installed timm that are newer than these."""
    records = load_records(artefacts)
    return records + new_records(artefacts, records)


def new_records(artefacts: Artefacts, known: list[ModelRecord]) -> list[ModelRecord]:
    """The weights of timm for 1000 classes that are not `known`, sorted; their metadata is in their names."""
    import timm

    names = {record.builder for record in known if record.source == "timm"}
    new = [name for name in timm.list_models(pretrained=True) if name not in names]
    rules = rules_of_the_paper(artefacts)
    return [rules.describe(name, TIMM_NEW) for name in new if timm.get_pretrained_cfg(name).num_classes == NUM_CLASSES]


def find_architecture(artefacts: Artefacts, name: str) -> ModelRecord | None:
    """The record of any model that the installed timm can build, `timm/NAME`, or None.

    A name without a tag has timm's default one.
    """
    import timm

    publisher, _, builder = name.partition("/")
    if publisher != "timm":
        return None
    try:
        config = timm.get_pretrained_cfg(builder, allow_unregistered=False)
    except RuntimeError:
        return None
    full_name = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    return rules_of_the_paper(artefacts).describe(full_name, TIMM_NEW)


def rules_of_the_paper(artefacts: Artefacts) -> Rules:
    return Rules.load(artefacts, load_records(artefacts, MODELS))
