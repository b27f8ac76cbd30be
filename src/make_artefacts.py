"""Make the small committed artefacts again from their public sources; analysis itself never runs this."""

from pathlib import Path

from imagenet_errors import cli, files, paths
from imagenet_errors.errors import InputError
from imagenet_errors.paths import Artefacts


def main() -> None:
    makers = {
        "vocabulary": make_vocabulary,
        "wordnet": make_wordnet_closure,
        "superclasses": make_superclasses_listing,
        "cooccurrences": make_cooccurrences,
        "non_prototypical": make_non_prototypical,
        "models": make_models,
    }
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--what",
        nargs="+",
        default=list(makers),
        type=cli.one_of("artefact", makers),
        help="vocabulary: class lists, from timm | wordnet: the hierarchy, from NLTK's or Debian's WordNet 3.0 |"
        " superclasses: superclasses.txt from superclasses.json | cooccurrences: from timm's ReaL labels, the"
        " validation labels in tensorflow-datasets and the annotations | non_prototypical: from the mistake lists |"
        " models: the paper's, newer ones, and the files of their weights, from published/models.csv in the artefacts"
        " folder, timm and torchvision",
    )
    args = parser.parse_args()
    for name in args.what:
        print(f"{name}: {makers[name](Artefacts(args.artefacts_dir))}")


def make_vocabulary(artefacts: Artefacts) -> str:
    wnids = read_package_text("timm", "data/_info/imagenet_synsets.txt").split()
    lemmas = dict(
        line.split("\t") for line in read_package_text("timm", "data/_info/imagenet_synset_to_lemma.txt").splitlines()
    )
    descriptions = {str(class_id): lemmas[wnid] for class_id, wnid in enumerate(wnids)}
    files.write_json(artefacts.root / paths.WNIDS, {wnid: class_id for class_id, wnid in enumerate(wnids)})
    files.write_json(artefacts.root / paths.DESCRIPTIONS, descriptions)
    imagenet_a = read_package_text("timm", "data/_info/imagenet_a_synsets.txt")
    files.write_text(artefacts.root / paths.IMAGENET_A_WNIDS, imagenet_a.rstrip() + "\n")
    return f"{len(wnids)} classes, {len(imagenet_a.split())} of them in ImageNet-A"


def make_wordnet_closure(artefacts: Artefacts) -> str:
    from imagenet_errors.dataset.classes import load_classes
    from imagenet_errors.dataset.wordnet import COLUMNS
    from imagenet_errors.maintenance import public_sources

    wordnet = public_sources.parse_data_noun(public_sources.read_data_noun())
    synsets = public_sources.needed_synsets(wordnet, load_classes(artefacts).offsets).synsets
    files.write_csv(
        artefacts.root / paths.CLOSURE,
        COLUMNS,
        [
            {"offset": offset} | {name: " ".join(map(str, values)) for name, values in synset._asdict().items()}
            for offset, synset in synsets.items()
        ],
        delimiter="\t",
    )
    return f"{len(synsets):,} noun synsets"


def make_superclasses_listing(artefacts: Artefacts) -> str:
    from imagenet_errors.dataset.classes import load_classes
    from imagenet_errors.dataset.superclasses import list_superclasses, load_superclasses
    from imagenet_errors.dataset.wordnet import load_wordnet

    classes = load_classes(artefacts)
    found = load_superclasses(artefacts, classes, load_wordnet(artefacts, classes))
    files.write_text(artefacts.root / paths.SUPERCLASSES_LISTING, list_superclasses(found, classes))
    return f"{len(found.list_defined(classes))} superclasses, {len(found.list_ungrouped(classes))} classes without one"


def make_cooccurrences(artefacts: Artefacts) -> str:
    import json

    from imagenet_errors.dataset.annotations import VALIDATION_PREFIX, annotations_from_json
    from imagenet_errors.dataset.classes import load_classes
    from imagenet_errors.maintenance import public_sources

    real_labels = json.loads(read_package_text("timm", "data/_info/imagenet_real_labels.json"))
    classes = load_classes(artefacts)
    labels_file = read_package_text("tensorflow_datasets", "datasets/imagenet2012/validation_labels.txt")
    targets = [classes.ids[wnid] for wnid in labels_file.split()]
    path = artefacts.find(paths.ANNOTATIONS)
    names = annotations_from_json(files.read_json(path), str(path), classes, VALIDATION_PREFIX).by_file
    annotated = [f"{VALIDATION_PREFIX}{number:08d}.JPEG" in names for number in range(1, len(targets) + 1)]
    counts = public_sources.count_cooccurrences(real_labels, targets, annotated)
    files.write_csv(
        artefacts.root / paths.COOCCURRENCES,
        ["class_a", "class_b", "count"],
        [{"class_a": a, "class_b": b, "count": count} for (a, b), count in counts.items()],
    )
    return f"{len(counts):,} pairs, {sum(counts.values()):,} in sum"


def make_non_prototypical(artefacts: Artefacts) -> str:
    from imagenet_errors.maintenance import public_sources

    names = public_sources.find_non_prototypical(files.read_json(artefacts.find(name)) for name in paths.MISTAKE_LISTS)
    files.write_text(artefacts.root / paths.NON_PROTOTYPICAL, "\n".join(names) + "\n")
    return f"{len(names)} files"


def make_models(artefacts: Artefacts) -> str:
    from imagenet_errors.maintenance import model_tables
    from imagenet_errors.models.model_table import COLUMNS
    from imagenet_errors.models.weight_files import COLUMNS as WEIGHT_FILE_COLUMNS

    published = files.read_csv(artefacts.root / paths.PUBLISHED_MODELS, model_tables.PUBLISHED_COLUMNS)
    archs = model_tables.make_arch_rows(published)
    files.write_csv(artefacts.root / paths.ARCHS, list(archs[0]), archs)
    files.write_csv(artefacts.root / paths.MODELS, COLUMNS, model_tables.make_paper_rows(published))
    beyond = model_tables.make_beyond_rows(artefacts)
    files.write_csv(artefacts.root / paths.MODELS_BEYOND, COLUMNS, beyond)
    weights = model_tables.make_weight_file_rows(artefacts)
    files.write_csv(artefacts.root / paths.WEIGHT_FILES, WEIGHT_FILE_COLUMNS, weights)
    return f"{len(published)} of the paper, {len(beyond)} beyond it"


def read_package_text(package: str, file: str) -> str:
    """A text file of an installed package, which is not imported."""
    from importlib.util import find_spec

    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"{package} is not installed: pip install {package.replace('_', '-')}")
    return (Path(spec.submodule_search_locations[0]) / file).read_text(encoding="utf-8")


if __name__ == "__main__":
    cli.run(main)
