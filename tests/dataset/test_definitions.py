"""Reading definitions and annotations: which file is used, what it means, and what is refused by name."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from imagenet_errors.dataset import annotations, wordnet
from imagenet_errors.dataset.annotations import load_annotated_images
from imagenet_errors.dataset.classes import load_classes
from imagenet_errors.dataset.cooccurrence import spurious_pairs
from imagenet_errors.dataset.multi_labels import annotations_from_tfds
from imagenet_errors.dataset.samples import Samples
from imagenet_errors.dataset.superclasses import load_superclasses
from imagenet_errors.dataset.wordnet import load_wordnet
from imagenet_errors.errors import InputError
from imagenet_errors.paths import ANNOTATIONS, REPOSITORY, Artefacts
from tests.conftest import COMMITTED

FILES = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (293, 2138, 3014)]  # three tenches


def samples_of(names: list[str], target: int = 0, wnid: str = "n01440764") -> Samples:
    return Samples(np.array([f"{wnid}/{name}" for name in names]), np.full(len(names), target, np.int16))


def refusal(function, *arguments) -> str:
    """The one-line message with which the function refuses its arguments."""
    with pytest.raises(InputError) as refused:
        function(*arguments)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# --- superclasses ----------------------------------------------------------------------------------------------------


@pytest.fixture
def define(tmp_path, classes, synsets):
    """Read a superclasses.json of the given text from a user's artefacts folder."""

    def read(text: str):
        (tmp_path / "superclasses.json").write_text(text)
        return load_superclasses(Artefacts(tmp_path), classes, synsets)

    return read


def test_one_object_per_line_reads_as_one_object(define):
    definitions = json.loads((REPOSITORY / "artefacts/superclasses.json").read_text())
    whole = define(json.dumps(definitions))
    by_line = define("\n".join(json.dumps({name: lists}) for name, lists in definitions.items()) + "\n\n")
    assert len(definitions) == 161
    assert by_line.names == whole.names
    assert np.array_equal(by_line.members, whole.members)


def test_own_definitions_replace_committed_ones(define, classes):
    found = define('{"fishes": [["fish"]]}')
    alone = [name for name in found.names if name in classes.ids]
    assert (found.names[0], len(found.names) - len(alone), found.names_of(0)) == ("fishes", 1, ["fishes"])


def test_lemmas_match_in_exact_case_only(define):
    assert not define('{"fishes": [["Fish"]]}').members[:, 0].any()


def test_all_lemmas_of_an_inner_list_are_required_and_any_list_suffices(define, classes):
    both, either = (define(text).members[:, 0] for text in ('{"x": [["fish", "ray"]]}', '{"x": [["fish"], ["ray"]]}'))
    fish, ray = (define(f'{{"x": [["{lemma}"]]}}').members[:, 0] for lemma in ("fish", "ray"))
    assert np.array_equal(both, fish & ray)
    assert np.array_equal(either, fish | ray)
    assert 0 < both.sum() < either.sum()


@pytest.mark.parametrize(
    "text",
    [
        '{"fishes": [["fish"]], "fishes": [["ray"]]}',
        '{"fishes": [["fish"]]}\n{"fishes": [["ray"]]}',
        '{"fishes": [["fish"], []]}',
        '{"fishes": []}',
        '{"fishes": ["fish"]}',
        '{"fishes": [[1]]}',
        '{"fishes": [["fish"]]',
        '{"fishes": [["fish"]]}\n{"rays": [["ray"]]',
        '["fishes"]',
        "{}",
        "",
    ],
    ids=[
        "duplicate name",
        "duplicate name on two lines",
        "empty inner list",
        "empty outer list",
        "list of texts",
        "lemma is a number",
        "truncated",
        "truncated last line",
        "list",
        "empty object",
        "empty file",
    ],
)
def test_unusable_definitions_are_refused_by_name(define, tmp_path, text):
    assert str(tmp_path / "superclasses.json") in refusal(define, text)


# --- annotations -----------------------------------------------------------------------------------------------------


@pytest.fixture
def annotate(tmp_path, classes):
    """Read annotations, given as text or as `initial_annots` with problematic files, for samples of class 0."""

    def read(annotated, problematic=(), names=FILES):
        if not isinstance(annotated, str):
            content = {
                "initial_annots": annotated,
                "problematic_images": dict.fromkeys(problematic, ""),
                "imagenet_m": [],
            }
            annotated = json.dumps(content)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / ANNOTATIONS).write_text(annotated)
        return load_annotated_images(Artefacts(tmp_path), "imagenet", samples_of(names), classes, "json")

    return read


def test_image_annotated_twice_is_refused_by_name(annotate):
    one = f'"{FILES[0]}": {{"correct": ["n01440764"]}}'
    assert FILES[0] in refusal(annotate, f'{{"initial_annots": {{{one}, {one}}}}}')


def test_repeated_label_is_kept(annotate):
    images = annotate({FILES[0]: {"correct": ["n01440764", "n01443537"], "unclear": ["n01443537"]}})
    assert images.labels.tolist() == [[0, 1, 1]]


def test_repeated_official_labels_are_kept(shipped):
    repeated = [row for row in shipped.images.labels.tolist() if len(row) - row.count(-1) > len(set(row) - {-1})]
    assert len(repeated) == 16


def test_unclear_labels_follow_correct_ones_and_wrong_ones_are_separate(annotate):
    lists = {"wrong": ["n01484850"], "unclear": ["n01443537"], "correct": ["n01440764"]}
    images = annotate({FILES[0]: lists})
    assert (images.labels.tolist(), images.wrong_labels.tolist()) == ([[0, 1]], [[2]])


def test_annotations_of_other_images_are_ignored(annotate):
    other = "n01440764_10026.JPEG"
    lists = {"correct": ["n01440764"]}
    images = annotate({other: lists, FILES[1]: lists}, names=[other, *FILES])
    assert images.files.tolist() == [f"n01440764/{FILES[1]}"]


def test_images_without_annotation_are_left_out_and_rows_are_kept(annotate):
    images = annotate({FILES[2]: {"correct": ["n01440764"]}, FILES[1]: {"correct": ["n01440764"]}})
    assert images.rows.tolist() == [1, 2]


@pytest.mark.parametrize("lists", [{}, {"correct": []}, {"correct": ["n01443537"]}, {"wrong": ["n01440764"]}])
def test_unproblematic_image_without_its_original_label_is_refused_by_name(annotate, lists):
    assert FILES[1] in refusal(annotate, {FILES[0]: {"correct": ["n01440764"]}, FILES[1]: lists})


@pytest.mark.parametrize("lists", [{}, {"correct": ["n01443537"]}])
def test_problematic_image_may_lack_its_original_label(annotate, lists):
    assert annotate({FILES[0]: lists}, problematic=[FILES[0]]).problematic.tolist() == [True]


@pytest.mark.parametrize("key", ["correct", "unclear", "wrong"])
def test_unknown_wordnet_id_is_refused_by_name(annotate, key):
    message = refusal(annotate, {FILES[0]: {"correct": ["n01440764"]} | {key: ["n00000001"]}})
    assert FILES[0] in message
    assert "n00000001" in message


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"initial_annots": []}',
        f'{{"initial_annots": {{"{FILES[0]}": []}}}}',
        f'{{"initial_annots": {{"{FILES[0]}": {{"correct": ["n01440764"]}}}}, "problematic_images": null}}',
        f'{{"initial_annots": {{"{FILES[0]}": {{"correct": ["n01440764"]}}}}, "imagenet_m": 68}}',
    ],
    ids=[
        "truncated",
        "list",
        "empty object",
        "list of images",
        "image is a list",
        "problematic is null",
        "imagenet_m is a number",
    ],
)
def test_malformed_annotations_are_refused_by_name(annotate, tmp_path, text):
    assert str(tmp_path / ANNOTATIONS) in refusal(annotate, text)


def test_imagenet_a_accepts_only_the_original_label_of_every_image(tmp_path, classes):
    names = ["0.000116_digital clock _ digital clock_0.865662.jpg", FILES[0]]
    images = load_annotated_images(
        Artefacts(tmp_path), "imagenet-a", samples_of(names, 6, "n01498041"), classes, "json"
    )
    assert images.labels.tolist() == [[6], [6]]
    assert images.rows.tolist() == [0, 1]
    assert not images.problematic.any()


def test_imagenet_a_has_no_non_prototypical_images(tmp_path, classes):
    name = min(annotations.non_prototypical_files(COMMITTED))
    images = load_annotated_images(Artefacts(tmp_path), "imagenet-a", samples_of([name]), classes, "json")
    assert not images.non_prototypical.any()


# --- tensorflow-datasets ---------------------------------------------------------------------------------------------


@pytest.fixture
def tfds(monkeypatch):
    """Install a stand-in for tensorflow-datasets that gives the named splits, or raises what its load raises."""

    def install(validation=(), imagenet_m=(), error=None):
        def load(name, *, split, decoders, download):
            assert (name, download) == ("imagenet2012_multilabel:3.0.0", False)
            assert isinstance(decoders["image"], SkipDecoding)  # or every image is decoded for nothing
            if error is not None:
                raise error
            return [{"validation": validation, "imagenet_m": imagenet_m}[name] for name in split]

        class SkipDecoding:
            pass

        module = SimpleNamespace(load=load, decode=SimpleNamespace(SkipDecoding=SkipDecoding), as_numpy=iter)
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)

    return install


def example_of(file: str, lists: dict, problematic: bool, ids: dict[str, int]) -> dict:
    """An image as tensorflow-datasets gives it."""
    labels = {
        f"{key}_multi_labels": np.array([ids[wnid] for wnid in lists.get(key, [])], np.int64)
        for key in ("correct", "unclear", "wrong")
    }
    return {"file_name": file.encode(), "is_problematic": np.bool_(problematic), **labels}


def test_tensorflow_datasets_equals_the_json_file(tfds, twelve, context, tmp_path):
    content = json.loads((twelve / ANNOTATIONS).read_text())
    problematic = content["problematic_images"]
    some = [*list(content["initial_annots"])[:200], *list(problematic)[:50]]
    few = {file: content["initial_annots"][file] for file in some}
    listed = some[:7]
    (tmp_path / "annotations").mkdir()
    (tmp_path / ANNOTATIONS).write_text(json.dumps(content | {"initial_annots": few, "imagenet_m": listed}))
    examples = {file: example_of(file, lists, file in problematic, context.classes.ids) for file, lists in few.items()}
    tfds(list(examples.values())[::-1], [examples[file] for file in listed])

    from_json, from_tfds = (
        load_annotated_images(Artefacts(tmp_path), "imagenet", context.samples, context.classes, source)
        for source in ("json", "tfds")
    )
    assert (len(from_json), int(from_json.imagenet_m.sum())) == (len(few), 7)
    assert 0 < from_json.problematic.sum() < len(few)
    for name, values in vars(from_json).items():
        assert np.array_equal(getattr(from_tfds, name), values), name


def test_tensorflow_datasets_with_a_file_twice_is_refused_by_name(tfds, classes):
    example = example_of(FILES[0], {"correct": ["n01440764"]}, False, classes.ids)
    tfds([example, example])
    assert FILES[0] in refusal(annotations_from_tfds)


def test_unprepared_tensorflow_datasets_is_refused_in_one_line(tfds):
    tfds(error=AssertionError("Dataset imagenet2012_multilabel: could not find data in /x"))
    assert "imagenet2012_multilabel:3.0.0 is not prepared" in refusal(annotations_from_tfds)


def test_missing_tensorflow_datasets_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert "pip install" in refusal(annotations_from_tfds)


# --- classes, hierarchy, co-occurrences ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imagenet_wnet_id_to_target.json", "labels_map.json"])
def test_class_list_without_a_class_is_refused_by_name(tmp_path, name):
    content = json.loads((REPOSITORY / "artefacts" / name).read_text())
    content.pop(list(content)[-1])
    (tmp_path / name).write_text(json.dumps(content))
    assert str(tmp_path / name) in refusal(load_classes, Artefacts(tmp_path))


def test_class_ids_out_of_order_are_refused(tmp_path):
    content = json.loads((REPOSITORY / "artefacts/imagenet_wnet_id_to_target.json").read_text())
    content["n01440764"], content["n01443537"] = 1, 0
    (tmp_path / "imagenet_wnet_id_to_target.json").write_text(json.dumps(content))
    assert "imagenet_wnet_id_to_target.json" in refusal(load_classes, Artefacts(tmp_path))


def test_closure_follows_all_hypernyms():
    mouse, rodent, toy, favourite, top = range(5)
    ways = {mouse: ((rodent, toy), (favourite,)), rodent: ((top,), ()), toy: ((top,), ()), favourite: ((), (top,))}
    synsets = {at: wordnet.Synset((f"lemma{at}",), *ways.get(at, ((), ())), ()) for at in range(5)}
    assert wordnet.WordNet(synsets).closure(mouse) == {mouse, rodent, toy, favourite, top}
    assert wordnet.WordNet(synsets).closure(favourite) == {favourite, top}


def test_hierarchy_without_an_ancestor_is_refused_by_name(tmp_path, classes):
    lines = (REPOSITORY / "artefacts/wordnet_closure.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "wordnet_closure.tsv").write_text("".join(line for line in lines if not line.startswith("1740\t")))
    assert "00001740" in refusal(load_wordnet, Artefacts(tmp_path), classes)


@pytest.mark.parametrize("line", ["5,5,2", "7,5,2", "-1,5,2", "5,1000,2", "5,x,2", "5,6"])
def test_damaged_cooccurrence_counts_are_refused_by_name(tmp_path, line):
    path = tmp_path / "cooccurrence_counts.csv"
    path.write_text(f"class_a,class_b,count\n{line}\n")
    assert str(path) in refusal(spurious_pairs, Artefacts(tmp_path), np.zeros((1000, 1000), bool))


def test_pair_counted_once_or_sharing_a_superclass_is_not_spurious(tmp_path):
    (tmp_path / "cooccurrence_counts.csv").write_text("class_a,class_b,count\n1,2,1\n3,4,2\n5,6,2\n")
    share = np.eye(1000, dtype=bool)
    share[3, 4] = share[4, 3] = True
    spurious = spurious_pairs(Artefacts(tmp_path), share)
    assert np.argwhere(spurious).tolist() == [[5, 6], [6, 5]]
