"""Tables of predictions that other tools wrote: each accepted form gives what was written, all else is refused."""

import csv
import gzip
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from imagenet_errors.formats.prediction_files import read
from tests.helpers.raw_predictions import NAMES, PROBS, SCORES, TOP5, assert_holds, only, refuses


@pytest.fixture
def write(tmp_path):
    """Write a text or bytes to a file of this name; returns its path."""

    def run(name: str, content: str | bytes):
        path = tmp_path / name
        content = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return run


FRAME = pd.DataFrame({"file_name": NAMES, "pred": TOP5[:, 0]})
TABLES = {
    "a.csv": FRAME.to_csv(index=False),
    "index.csv": FRAME.to_csv(),
    "named.csv": FRAME.set_index("file_name").to_csv(),
    "unnamed.csv": FRAME.set_index("file_name").rename_axis(None).to_csv(),
    "bom.csv": b"\xef\xbb\xbf" + FRAME.to_csv(index=False).encode(),
    "bom.json": b"\xef\xbb\xbf" + FRAME.to_json(orient="records").encode(),
    "quoted.csv": FRAME.to_csv(index=False, quoting=csv.QUOTE_ALL, lineterminator="\r\n"),
    "semicolon.csv": FRAME.to_csv(index=False, sep=";"),
    "a.tsv": FRAME.to_csv(index=False, sep="\t"),
    "a.TSV.gz": FRAME.to_csv(index=False, sep="\t"),
    "a.csv.gz": FRAME.to_csv(index=False),
    "spaces.csv": FRAME.to_csv(index=False).replace(",", ", "),
    "floats.csv": FRAME.astype({"pred": float}).to_csv(index=False),
    "records.json": FRAME.to_json(orient="records"),
    "columns.json": FRAME.to_json(),
    "lists.json": json.dumps(FRAME.to_dict("list")),
    "split.json": FRAME.to_json(orient="split"),
    "split_index.json": FRAME.set_index("file_name").to_json(orient="split"),
    "index.json": FRAME.set_index("file_name").to_json(orient="index"),
    "columns_index.json": FRAME.set_index("file_name").to_json(),
    "ids.json": json.dumps(dict(zip(NAMES, TOP5[:, 0].tolist(), strict=True))),
    "a.json.gz": FRAME.to_json(orient="records"),
    "a.jsonl": FRAME.to_json(orient="records", lines=True),
    "lines.json": FRAME.to_json(orient="records", lines=True),
    "a.ndjson.gz": FRAME.to_json(orient="records", lines=True),
    "texts.json": FRAME.astype(str).to_json(orient="records"),
    "mixed.json": json.dumps([{"file_name": NAMES[i], "pred": str(TOP5[i, 0]) if i else 0} for i in range(4)]),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_read_in_every_orientation(write, name):
    assert_holds(read(write(name, TABLES[name])), ids=TOP5[:, :1])


@pytest.mark.parametrize("index", [None, "file_name", ""])
def test_parquet_is_read_with_and_without_an_index(tmp_path, index):
    frame = FRAME.astype({"file_name": "category"}) if index is None else FRAME.set_index("file_name")
    frame = frame.rename_axis(None) if index == "" else frame
    frame.to_parquet(tmp_path / "a.parquet")
    assert_holds(read(tmp_path / "a.parquet"), ids=TOP5[:, :1])


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view"])
def test_texts_of_parquet_are_read_as_any_library_writes_them(tmp_path, kind):
    wnids = ["n01440764", "n01443537", "n01440764", "n01443537"]
    columns = {"file": pa.array(NAMES, kind), "label": pa.array(wnids, kind)}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert_holds(read(tmp_path / "a.parquet"), texts=wnids)


CELLS = {
    "python": [str(row.tolist()) for row in TOP5],
    "numpy": [str(row) for row in TOP5],
    "floats": [str(row.astype(float)) for row in TOP5],
    "scalars": [str(list(row)) for row in TOP5],
}


@pytest.mark.parametrize("form", CELLS)
def test_lists_are_read_as_python_and_numpy_print_them(write, form):
    frame = FRAME.assign(pred=CELLS[form], probs=[str(row) for row in PROBS])
    assert_holds(read(write("a.csv", frame.to_csv(index=False))), ids=TOP5, probs=PROBS)


def test_long_lists_are_scores(write):
    scores = np.concatenate([SCORES] * 30)
    with np.printoptions(threshold=10_000):
        text = pd.DataFrame({"path": range(120), "pred": [str(row) for row in scores]}).to_csv(index=False)
    assert text.count("\n") > 10_000
    assert len(text) > 1 << 20  # more than one of the blocks in which Arrow reads
    np.testing.assert_allclose(only(read(write("a.csv", text))).scores, scores, rtol=1e-6)


@pytest.mark.parametrize("base", ["output_", "logit_", "", "class"])
def test_numbered_columns_in_any_order_are_scores(write, base):
    frame = pd.DataFrame(SCORES, columns=[f"{base}{i}" for i in range(1000)]).iloc[:, ::-1]
    found = only(read(write("a.csv", frame.assign(file=NAMES).to_csv(index=False))))
    np.testing.assert_allclose(found.scores, SCORES, rtol=1e-6)


def test_first_class_of_kaggle_counts(write):
    rows = ["n02119789 255 142 454 329 n02119790 1 2 3 4", "n01440764 0 0 1 1 ", " n01443537", "n01440764 1 1 1 1"]
    text = "ImageId,PredictionString\n" + "".join(f"{name[:-5]},{row}\n" for name, row in zip(NAMES, rows, strict=True))
    wnids = ["n02119789", "n01440764", "n01443537", "n01440764"]
    assert_holds(read(write("a.csv", text)), texts=wnids, names=[name[:-5] for name in NAMES])


def test_names_are_never_numbers_or_missing_values(write):
    names = ["0001", "NA", "1e5", "null"]
    frame = pd.DataFrame({"image": names, "class": ["NA", "nan", "None", "x"]})
    assert_holds(read(write("a.csv", frame.to_csv(index=False))), texts=["NA", "nan", "None", "x"], names=names)


def test_all_candidates_are_returned_best_first(write):
    table = {"top1": TOP5[:, 0], "label": ["a", "b", "c", "d"], "top5": TOP5.tolist(), "prob": PROBS[:, 0]}
    found = read(write("a.json", FRAME.assign(**table).to_json(orient="records")))
    labels = ["the column top5", "the column pred", "the column top1", "the column label"]
    assert [candidate.label for candidate in found.candidates] == labels
    assert [candidate.probs is not None for candidate in found.candidates] == [False, True, True, False]


def test_counters_are_no_classes(write):
    text = FRAME.assign(index=range(4)).to_csv(index=False)
    assert_holds(read(write("a.csv", text)), ids=TOP5[:, :1])
    text = text.replace("pred", "score")
    assert refuses(write("b.csv", text), "index counts the rows", "--class_column")
    assert_holds(read(write("b.csv", text), class_column="index"), ids=np.arange(4)[:, None])


def test_one_other_column_needs_no_name(write):
    text = FRAME.rename(columns={"pred": "resnet50"}).assign(prob=PROBS[:, 0]).to_csv()
    assert_holds(read(write("a.csv", text)), ids=TOP5[:, :1], probs=PROBS[:, :1])


def test_file_columns_are_preferred_in_order_or_named(write):
    text = FRAME.assign(path="p", image=["a", "b", "c", "d"], own=["w", "x", "y", "z"]).to_csv(index=False)
    assert read(write("a.csv", text)).names.tolist() == NAMES
    assert read(write("a.csv", text), file_column="own").names.tolist() == ["w", "x", "y", "z"]
    assert read(write("a.csv", text.replace("file_name", "name"))).names.tolist() == ["a", "b", "c", "d"]
    assert refuses(write("a.csv", text), "--file_column", "'owm'", "did you mean 'own'", file_column="owm")


@given(order=st.permutations(range(4)), columns=st.permutations(["pred", "file_name", "prob", "note"]))
def test_order_of_rows_and_columns_does_not_matter(tmp_path_factory, order, columns):
    frame = FRAME.assign(prob=PROBS[:, 0], note="NA, 'x'\n").iloc[order][columns]
    path = tmp_path_factory.mktemp("orders") / "a.csv"
    frame.to_csv(path, index=False)
    names = [NAMES[i] for i in order]
    assert_holds(read(path), ids=TOP5[order, :1], probs=PROBS[order, :1], names=names)


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40)


@given(
    lists=st.lists(st.lists(TEXTS, min_size=3, max_size=3), min_size=1, max_size=5),
    printer=st.sampled_from([str, repr, np.array]),
)
def test_lists_of_any_texts_are_read_as_they_were(tmp_path_factory, lists, printer):
    frame = pd.DataFrame({"file": range(len(lists)), "label": [str(printer(row)) for row in lists]})
    path = tmp_path_factory.mktemp("texts") / "a.csv"
    frame.to_csv(path, index=False)
    assert only(read(path)).texts.tolist() == [row[0] for row in lists]


@given(
    rows=st.integers(1, 4).flatmap(
        lambda k: st.lists(st.lists(st.integers(-1, 1000), min_size=k, max_size=k), min_size=1, max_size=6)
    ),
    printer=st.sampled_from([str, np.array, lambda row: np.array(row, float), lambda row: list(np.array(row))]),
)
def test_lists_of_any_ids_are_read_as_they_were(tmp_path_factory, rows, printer):
    frame = pd.DataFrame({"file": range(len(rows)), "preds": [str(printer(row)) for row in rows]})
    path = tmp_path_factory.mktemp("ids") / "a.csv"
    frame.to_csv(path, index=False)
    np.testing.assert_array_equal(only(read(path)).ids, rows)


WRONG_CELLS = [
    (["0", "2", "", "999"], "row 3", "''"),
    (["0", "2", "  ", "999"], "row 3", "''"),
    (["0", "2.5", "0", "999"], "row 2", "2.5"),
    (["0", "2", "0", "nan"], "row 4", "nan"),
    (["0", "2", "tench", "999"], "row 3", "'tench'"),
    (["tench", "crane", "7", "hen"], "row 3", "'7'"),
    (["[0 1]", "[2 3]", "[4]", "[5 6]"], "row 3", "[4]"),
    (["[0 1]", "[2 3", "[4 5]", "[5 6]"], "row 2", "[2 3"),
    (["[0 1]", "[2 x]", "[4 5]", "[5 6]"], "row 2", "[2 x]"),
    (["[0 1]", "[2 nan]", "[4 5]", "[5 6]"], "row 2", "nan"),
    (["[0 1]", "[]", "[4 5]", "[5 6]"], "row 2", "[]"),
    (["[0 1]", "7", "[4 5]", "[5 6]"], "row 2", "'7'"),
    (["7", "[0 1]", "5", "6"], "row 2", "'[0 1]'"),
    (["[0 1]", "[2 ... 3]", "[4 5]", "[5 6]"], "row 2", "set_printoptions"),
    (["['a' 'b']", "['c' 'd", "['e' 'f']", "['g' 'h']"], "row 2", "['c' 'd"),
    (["['a' 'b']", r"['c\x' 'd']", "['e' 'f']", "['g' 'h']"], "row 2", r"['c\\x' 'd']"),
    (["['a' 'b']", "['c' 'd'] x", "['e' 'f']", "['g' 'h']"], "row 2", "['c' 'd'] x"),
]


@pytest.mark.parametrize(("cells", "row", "value"), WRONG_CELLS)
def test_empty_and_malformed_cells_are_refused_by_row_and_value(write, cells, row, value):
    assert refuses(write("a.csv", FRAME.assign(pred=cells).to_csv(index=False)), row, value, "the column pred")


def test_wrong_values_of_json_and_parquet_are_refused_by_row(write, tmp_path):
    for values in (
        [0, None, 1, 2],
        [[0], [None], [1], [2]],
        [0, {}, 1, 2],
        [[0, 1], [2, None], [3, 4], [5, 6]],
        [[1], [2, 3], [4], [5]],
        [[1], [], [4], [5]],
    ):
        records = [{"file": name, "pred": value} for name, value in zip(NAMES, values, strict=True)]
        assert refuses(write("a.json", json.dumps(records)), "row 2", "the column pred")
    assert refuses(write("a.json", json.dumps([{"file": "a", "pred": True}])), "row 1", "True", "bool")
    assert refuses(write("a.json", json.dumps([{"file": "a", "pred": [[1], [2]]}])), "row 1", "list of lists")
    pd.DataFrame({"file": NAMES, "pred": [1, 2, np.nan, 3]}).to_parquet(tmp_path / "a.parquet")
    assert refuses(tmp_path / "a.parquet", "row 3", "the column pred")
    assert refuses(write("a.csv", "file,pred\na,1\n,2\n"), "row 2", "no image name")
    assert refuses(write("a.csv", "file,pred,prob\na,1,0.5\nb,2,\n"), "row 2", "prob", "remove the column")


REFUSED_TABLES = {
    "nothing.csv": ("", "empty"),
    "blank.csv": (" \n", "empty"),
    "header.csv": ("file,pred\n", "no rows"),
    "no_header.csv": ("a.JPEG,5\nb.JPEG,6\n", "no column of image names", "a.JPEG, 5", "--file_column"),
    "no_file.csv": (",pred\n0,5\n1,6\n", "no column of image names", "(one without a name), pred"),
    "no_class.csv": ("file,resnet,vit\na,5,6\n", "no class column", "resnet, vit", "--class_column"),
    "only_files.csv": ("file\na\n", "no class column"),
    "twice.csv": ("file,pred,pred\na,1,2\n", "two columns 'pred'"),
    "ragged.csv": ("file,pred\na,1\nb\n", "Expected 2 columns, got 1"),
    "longer.csv": ("file,pred\na,1\nb,2,3\n", "Expected 2 columns, got 3"),
    "latin.csv": ("file,pred\nä,1\n".encode("latin-1"), "UTF-8"),
    "utf16.csv": ("file,pred\nä,1\n".encode("utf-16"), "UTF-8"),
    "binary.csv": (b"\x00\x01\x02\x89PNG\r\n" * 9, "binary.csv"),
    "broken.json": ('[{"file": "a", "pred": 1}', "not a readable json"),
    "number.json": ("5", "neither rows nor columns"),
    "object.json": ("{}", "neither rows nor columns"),
    "numbers.json": ("[1, 2]", "not objects"),
    "repeated.json": ('{"a": 1, "b": 2, "a": 3}', "'a' occurs twice"),
    "deep.json": ("[" * 100_000, "deep.json"),
    "lengths.json": ('{"file": ["a", "b"], "pred": [1]}', "differ in length"),
    "split.json": ('{"columns": ["file", "pred"], "data": [["a", 1], ["b"]]}', "2 columns"),
    "broken.jsonl": ('{"file": "a", "pred": 1}\n{"file": "b", "pr', "line 2"),
    "broken.parquet": (b"PAR1" + bytes(50), "not a readable parquet"),
    "a.txt": ("file,pred\na,1\n", "not in a known format", ".csv"),
}


@pytest.mark.parametrize("name", REFUSED_TABLES)
def test_unfit_tables_are_refused_in_one_line(write, name):
    content, *words = REFUSED_TABLES[name]
    assert refuses(write(name, content), *words)


def test_damaged_and_missing_files_are_refused_in_one_line(write, tmp_path):
    gz = write("a.csv.gz", TABLES["a.csv"])
    gz.write_bytes(gz.read_bytes()[:-20])
    assert refuses(gz, "not a complete gzip file")
    gz.write_text(TABLES["a.csv"])
    assert refuses(gz, "not a complete gzip file")
    for suffix in ("csv", "csv.gz", "json", "parquet", "npz", "npy", "safetensors"):
        assert refuses(tmp_path / f"missing.{suffix}", "is missing")
        (tmp_path / f"folder.{suffix}").mkdir()
        assert refuses(tmp_path / f"folder.{suffix}", "s a directory")
