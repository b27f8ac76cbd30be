"""Arrays of predictions that other tools wrote: each accepted form gives what was written, all else is refused."""

import numpy as np
import pytest

from imagenet_errors.errors import InputError
from imagenet_errors.formats.prediction_files import read
from imagenet_errors.inference.tensor_files import read_tensors
from tests.helpers.raw_predictions import NAMES, PROBS, SCORES, TOP5, assert_holds, only, refuses


@pytest.fixture
def save(tmp_path):
    """Write arrays to an npz archive; returns its path."""

    def run(**arrays):
        np.savez(tmp_path / "arrays.npz", **arrays)
        return tmp_path / "arrays.npz"

    return run


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (TOP5[:, 0], TOP5[:, :1]),
        (TOP5[:, :1].astype(np.uint16), TOP5[:, :1]),
        (TOP5.astype(">i2"), TOP5),
        (TOP5.astype(np.float16), TOP5),
        (TOP5[:, 0].astype(float), TOP5[:, :1]),
    ],
)
@pytest.mark.parametrize("name", ["preds", "Top5", "mine"])
def test_ids_are_read_in_every_shape_and_type(save, values, ids, name):
    assert_holds(read(save(**{name: values})), ids=ids, names=None)
    assert_holds(read(save(**{name: values, "paths": NAMES, "epoch": 5})), ids=ids)


def test_bare_arrays_need_no_name(tmp_path):
    np.save(tmp_path / "a.npy", TOP5)
    assert_holds(read(tmp_path / "a.npy"), ids=TOP5, names=None)
    np.save(tmp_path / "a.npy", np.array(NAMES))
    assert only(read(tmp_path / "a.npy")).texts.tolist() == NAMES


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("num_classes", [200, 1000, 1001])
def test_scores_of_all_classes_are_read(save, dtype, num_classes):
    scores = (100 * np.random.default_rng(1).normal(size=(4, num_classes))).astype(dtype)
    if dtype == np.int32 and num_classes == 200:
        assert refuses(save(logits=scores), "[4, 200]", "floats")
    else:
        assert_holds(read(save(logits=scores, files=np.array(NAMES, "S"))), scores=scores.astype(np.float32))


def test_probabilities_belong_to_ids_of_their_shape(save):
    assert_holds(read(save(top5=TOP5, top5_probs=PROBS)), ids=TOP5, probs=PROBS, names=None)
    assert_holds(read(save(preds=TOP5[:, 0], probs=PROBS[:, 0])), ids=TOP5[:, :1], probs=PROBS[:, :1], names=None)
    assert_holds(read(save(top5=TOP5, probs=PROBS[:, :3])), ids=TOP5, names=None)
    assert_holds(read(save(top5=TOP5, probs=100 * PROBS)), ids=TOP5, names=None)


def test_all_arrays_that_fit_are_candidates(save):
    path = save(top1=TOP5[:, 0], logits=SCORES, mine=TOP5[:, 1])
    assert [candidate.label for candidate in read(path).candidates] == ["the array logits", "the array top1"]
    assert_holds(read(path, class_column="mine"), ids=TOP5[:, 1:2], names=None)
    assert refuses(path, "'mime'", "did you mean 'mine'", class_column="mime")


def test_texts_are_read_from_arrays(save):
    wnids = ["n01440764", "n01443537", "n01440764", "n01443537"]
    assert_holds(read(save(y_pred=wnids)), texts=wnids, names=None)
    assert_holds(read(save(y_pred=np.array([wnids, wnids[::-1]]).T.astype("S"))), texts=wnids, names=None)


def test_sorted_scores_do_not_say_their_classes(save):
    assert refuses(save(probs=-np.sort(-SCORES)), "sorted")
    ranks = np.argsort(-SCORES)
    probs = np.take_along_axis(np.exp(SCORES) / 100, ranks, axis=1)
    assert_holds(read(save(preds=ranks, probs=probs)), ids=ranks, probs=probs, names=None)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": TOP5, "b": TOP5[:, 0]}, ["a [4, 5], b [4]:", "name the array", "--class_column"]),
        ({"files": NAMES}, ["no predictions", "files [4]"]),
        ({"probs": PROBS}, ["no predictions", "probs [4, 5]"]),
        ({"preds": TOP5[None]}, ["[1, 4, 5]", "[N, k]"]),
        ({"preds": TOP5[:0]}, ["[0, 5]"]),
        ({"preds": TOP5[:, 0] > 3}, ["bool"]),
        ({"preds": TOP5 + 1j}, ["complex"]),
        ({"preds": TOP5 + 0.5}, ["row 1", "0.5", "not a class id"]),
        ({"preds": np.array([1, np.nan])}, ["row 2", "nan"]),
        ({"logits": np.where(np.arange(4)[:, None] == 2, np.inf, SCORES)}, ["row 3", "inf", "not finite"]),
        ({"preds": TOP5, "files": NAMES[:3]}, ["files", "4 predicted images", "--file_column"]),
        ({"top1": TOP5[:, 0], "top5": TOP5[:3]}, ["top1 [4], top5 [3, 5]", "differ in length"]),
        ({"preds": np.array([1, "a"], object)}, ["the array preds", "Python objects"]),
        ({"preds": TOP5, "files": np.array(NAMES, object)}, ["the array files", "Python objects"]),
        ({"preds": TOP5, "files": [b"\xff"] * 4}, ["UTF-8"]),
    ],
)
def test_unfit_arrays_are_refused_in_one_line(save, arrays, words):
    path = save(**arrays)
    assert refuses(path, *words)
    with pytest.raises(InputError, match=r"^(?!.*allow_pickle).*$"):
        read(path)


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.safetensors", "a.pt"])
def test_damaged_arrays_are_refused_in_one_line(tmp_path, name):
    pytest.importorskip("torch")
    path = tmp_path / name
    for content in (b"", b"damaged", b"\x80\x04K\x05.", b"PK\3\4" + bytes(100), b"\x93NUMPY\1\0v\0"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"^(?!.*(allow_pickle|weights_only)).*$"):
            read(path, read_tensors=read_tensors)
    np.savez(tmp_path / "whole.npz", preds=TOP5)
    path.write_bytes((tmp_path / "whole.npz").read_bytes()[:-9])
    assert refuses(path, name, read_tensors=read_tensors)


def test_safetensors_are_read(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "a.safetensors"
    save_file({"preds": TOP5, "probs": PROBS.astype(np.float32)}, path)
    assert_holds(read(path), ids=TOP5, probs=PROBS, names=None)
    save_file({"logits": SCORES.astype(np.float16)}, path)
    assert_holds(read(path), scores=SCORES.astype(np.float16).astype(np.float32), names=None)


@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_tensors_of_any_precision_are_read(tmp_path, suffix, dtype):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    scores = torch.from_numpy(SCORES).to(getattr(torch, dtype))
    path = tmp_path / f"a.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)({"logits": scores}, path)
    assert_holds(read(path, read_tensors=read_tensors), scores=scores.float().numpy(), names=None)


def test_tensors_and_lists_are_read_from_files_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    for content, names in (
        (torch.from_numpy(TOP5), None),
        ({"preds": TOP5.tolist(), "files": NAMES, "epoch": 3, "note": None}, NAMES),
        ({"preds": list(torch.from_numpy(TOP5)), "paths": NAMES}, NAMES),
        ({"preds": torch.from_numpy(TOP5).float().requires_grad_(), "paths": NAMES}, NAMES),
    ):
        torch.save(content, path)
        assert_holds(read(path, read_tensors=read_tensors), ids=TOP5, names=names)
    torch.save({"preds": TOP5}, path)
    assert refuses(path, "never loaded", "npz", read_tensors=read_tensors)
    torch.save({f"layer{i}": torch.zeros(3, 3) for i in range(50)}, path)
    assert refuses(path, "no predictions", "50 arrays in all", read_tensors=read_tensors)


def test_weights_given_as_predictions_are_told_how_they_predict(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    state, path = torch.nn.Linear(3, 2).state_dict(), tmp_path / "a.pt"
    state = {f"fc.{name}": tensor for name, tensor in state.items()}
    for content in (state, {"state_dict": state, "epoch": 3}):
        torch.save(content, path)
        assert refuses(path, "the weights of a network", f"--checkpoint {path}", read_tensors=read_tensors)
    save_file(state, tmp_path / "a.safetensors")
    assert refuses(tmp_path / "a.safetensors", "the weights of a network", "collect_predictions.py --model")


def test_files_of_pytorch_without_tensors_are_told_what_to_save(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "a.pt"
    for content in ({}, {"epoch": 3}, 3, "text"):
        torch.save(content, path)
        assert refuses(path, "no tensor with a row for each image", "torch.save", read_tensors=read_tensors)
    path.write_text("text")
    assert refuses(path, "not a file that torch.save wrote", read_tensors=read_tensors)
    torch.save(torch.eye(3).to_sparse(), path)
    assert refuses(path, "cannot be read as numbers or texts", "to_dense", read_tensors=read_tensors)


def test_files_of_pytorch_need_torch(tmp_path):
    def without_torch(path):
        raise ImportError

    for reader in (None, without_torch):
        assert refuses(tmp_path / "a.pt", "needs torch", "npz", read_tensors=reader)
