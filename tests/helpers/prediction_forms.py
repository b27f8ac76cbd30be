"""One model's predictions, written in the forms that users have."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

from imagenet_errors.dataset.classes import Classes
from imagenet_errors.dataset.samples import Samples


class Form(NamedTuple):
    """Files of one model, and the options with which they are imported."""

    paths: list[Path]
    options: Mapping = MappingProxyType({})


class Writer:
    """Writes predictions [N] for N validation images."""

    def __init__(self, folder: Path, samples: Samples, top1: np.ndarray, classes: Classes, seed: int = 0):
        self.folder, self.top1, self.classes = folder, top1.astype(int), classes
        self.files = samples.files
        self.names = np.array([file.partition("/")[2] for file in samples.files.tolist()])
        self.numbers = np.array([int(name[15:23]) for name in self.names.tolist()])
        self.shuffled = np.random.default_rng(seed).permutation(len(top1))
        others = np.random.default_rng(seed).integers(1, 200, (len(top1), 4)).cumsum(axis=1)
        self.top5 = np.concatenate([self.top1[:, None], (self.top1[:, None] + others) % 1000], axis=1)

    def table(self, files: np.ndarray | None = None, **columns) -> pd.DataFrame:
        """Shuffled rows."""
        names = self.names if files is None else files
        return pd.DataFrame({"file_name": names, **(columns or {"predicted_class": self.top1})}).iloc[self.shuffled]

    @property
    def wnids(self) -> np.ndarray:
        return np.array(self.classes.wnids)[self.top1]

    def csv(self) -> Form:
        return self._csv("plain.csv", self.table())

    def wordnet_ids(self) -> Form:
        return self._csv("wnids.csv", self.table(label=self.wnids))

    def numpy_lists(self) -> Form:
        table = self.table(filename=self.names, index=list(map(str, self.top5))).drop(columns="file_name")
        return self._csv("lists.tsv", table, sep="\t")

    def numbered_columns(self) -> Form:
        return self._csv("numbered.csv", self.table(**{f"index_{i}": self.top5[:, i] for i in range(5)}))

    def floats_with_index(self) -> Form:
        """As pandas writes a table with its index, class ids as floats, full paths."""
        files = np.array([f"/data/val/{file}" for file in self.files.tolist()])
        path = self.folder / "floats.csv"
        self.table(files, pred=self.top1.astype(float)).reset_index(drop=True).to_csv(path)
        return Form([path])

    def kaggle(self) -> Form:
        names = [name.removesuffix(".JPEG") for name in self.names.tolist()]
        strings = [f"{wnid} 1 2 3 4 n01440764 5 6 7 8" for wnid in self.wnids.tolist()]
        table = pd.DataFrame({"ImageId": names, "PredictionString": strings}).iloc[self.shuffled]
        return self._csv("kaggle.csv.gz", table)

    def hugging_face_names(self) -> Form:
        """Half the names in other cases and with other extensions, with the class at their end."""
        names = [
            name.replace(".JPEG", f"_{wnid}.jpg").lower() if row % 2 else name.replace(".JPEG", ".png")
            for row, (name, wnid) in enumerate(zip(self.names.tolist(), self.wnids.tolist(), strict=True))
        ]
        return self._csv("names.csv", self.table(np.array(names)))

    def json_records(self) -> Form:
        return self._write("records.json", self.table().to_json(orient="records"))

    def json_by_index(self) -> Form:
        return self._write("by_index.json", self.table().set_index("file_name").to_json(orient="index"))

    def json_split(self) -> Form:
        return self._write("split.json", self.table(pred=list(self.top5)).to_json(orient="split", index=False))

    def json_lines(self) -> Form:
        return self._write("lines.jsonl", self.table().to_json(orient="records", lines=True))

    def json_object(self) -> Form:
        return self._write("object.json", json.dumps(dict(zip(self.names.tolist(), self.top1.tolist(), strict=True))))

    def parquet(self) -> Form:
        path = self.folder / "table.parquet"
        self.table(index=list(self.top5), prob=list(np.full((len(self.top1), 5), 0.2))).set_index(
            "file_name"
        ).to_parquet(path)
        return Form([path])

    def named_arrays(self) -> Form:
        path = self.folder / "named.npz"
        np.savez(path, files=self.files[self.shuffled], preds=self.top1[self.shuffled])
        return Form([path])

    def class_folder_order(self) -> Form:
        path = self.folder / "class_folder.npy"
        np.save(path, self.top1)
        return Form([path])

    def file_number_order(self) -> Form:
        path = self.folder / "file_number.safetensors"
        save_file({"top5": np.ascontiguousarray(self.top5[np.argsort(self.numbers)])}, path)
        return Form([path])

    def from_one(self) -> Form:
        """Class ids that count the background as 0."""
        path = self.folder / "from_one.npy"
        np.save(path, self.top1[:, None] + 1)
        return Form([path], {"label_offset": -1})

    def own_class_order(self) -> Form:
        order = np.random.default_rng(1).permutation(1000)
        listing = self.folder / "classes.txt"
        listing.write_text("\n".join(self.classes.wnids[class_id] for class_id in order) + "\n")
        form = self._csv("own_order.csv", self.table(prediction=np.argsort(order)[self.top1]))
        return form._replace(options={"classes": str(listing)})

    def text_order(self) -> Form:
        order = np.array(sorted(range(1000), key=str))
        return self._csv("text_order.csv", self.table(prediction=np.argsort(order)[self.top1]))._replace(
            options={"classes": "text"}
        )

    def two_parts(self) -> Form:
        """Two tables that share a hundred rows."""
        table = self.table()
        half = len(table) // 2
        return Form(
            [*self._csv("part1.csv", table[: half + 50]).paths, *self._csv("part2.csv", table[half - 50 :]).paths]
        )

    def logits(self) -> Form:
        """[N, 1001] in half precision, the background first, by file number."""
        scores = np.zeros((len(self.top1), 1001), np.float16)
        rows = np.argsort(self.numbers)
        scores[np.arange(len(rows)), self.top1[rows] + 1] = 9
        path = self.folder / "logits.npz"
        np.savez(path, logits=scores)
        return Form([path], {"label_offset": -1})

    def _csv(self, name: str, table: pd.DataFrame, **options) -> Form:
        table.to_csv(self.folder / name, index=False, **options)
        return Form([self.folder / name])

    def _write(self, name: str, text: str) -> Form:
        (self.folder / name).write_text(text)
        return Form([self.folder / name])


FORMS: dict[str, Callable[[Writer], Form]] = {
    name: method for name, method in vars(Writer).items() if callable(method) and name[0] != "_" and name != "table"
}
