"""Make the small committed artefacts again from their public sources; analysis itself never runs this."""

from imagenet_errors import cli, files, paths
from imagenet_errors.maintenance import image_facts
from imagenet_errors.maintenance.image_facts import read_package_text
from imagenet_errors.paths import Artefacts


def main() -> None:
    makers = {
        "vocabulary": make_vocabulary,
        "wordnet": make_wordnet_closure,
        "superclasses": make_superclasses_listing,
        "validation_labels": image_facts.make_validation_labels,
        "multi_labels": image_facts.make_multi_labels,
        "real_labels": image_facts.make_real_labels,
        "cooccurrences": image_facts.make_cooccurrences,
        "non_prototypical": image_facts.make_non_prototypical,
        "models": make_models,
        "multiply_adds": make_multiply_adds,
    }
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--what",
        nargs="+",
        default=list(makers),
        type=cli.one_of("artefact", makers),
        help="vocabulary: class lists, from timm | wordnet: the hierarchy, from NLTK's or Debian's WordNet 3.0 |"
        " superclasses: superclasses.txt from superclasses.json | validation_labels: from tensorflow-datasets |"
        " multi_labels: from the official annotations | real_labels: from timm | cooccurrences: from timm's ReaL"
        " labels, tensorflow-datasets' validation labels and the multi-labels | non_prototypical: from the mistake"
        " lists | models: the paper's, newer ones, and the files of their weights, from published/models.csv in the"
        " artefacts folder, timm and torchvision | multiply_adds: of every model, counted by torch. (The published"
        " tables are copies: download_artefacts.py --what tables)",
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


def make_multiply_adds(artefacts: Artefacts) -> str:
    from imagenet_errors.maintenance import multiply_adds

    rows = multiply_adds.make_rows(artefacts)
    files.write_csv(artefacts.root / paths.MULTIPLY_ADDS, list(rows[0]), rows)
    return f"{len(rows):,} models"


if __name__ == "__main__":
    cli.run(main)
