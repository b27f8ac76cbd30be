"""Pickles assembled opcode by opcode: frames as pandas 2.0 and NumPy 1 write them, and hostile variants of them."""

import pickle
import struct

import numpy as np

COLUMNS = [
    *("wnet_id", "file_name", "img_rel_path", "target", "target_desc", "clip_top10_train_indices"),
    *("clip_top10_train_targets", "multi_label", "wrong_multi_label", "is_problematic", "multi_desc"),
    *("wrong_multi_desc", "clip_top10_train_files", "clip_top10_supercls", "top1", "top1_desc", "error_types"),
]


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def data(content: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(content)) + content


def push(value) -> bytes:
    """The opcodes of a plain value; bytes are opcodes already."""
    match value:
        case bytes():
            return value
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return number(value)
        case str():
            return text(value)
        case list():
            return b"](" + b"".join(map(push, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(push, value)) + b"t"
        case dict():
            return b"}(" + b"".join(push(key) + push(of) for key, of in value.items()) + b"u"
    raise TypeError(value)


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def call(module: str, attribute: str, *arguments) -> bytes:
    return name(module, attribute) + push(arguments) + b"R"


def pickled(opcodes: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + opcodes + b"."


def dtype(kind: str, order: str = "<", flags: int = 0) -> bytes:
    order = order if kind[0] in "iu" else "|"
    made = call("numpy", "dtype", kind, False, True)
    return made + push((3, order, None, None, None, -1, -1, 63 if kind[0] == "O" else flags)) + b"b"


def reconstructed(shape, kind, content, fortran=False, core="core") -> bytes:
    """An array in protocols 3 and 4; of objects in all. `kind` is a dtype's name or its opcodes."""
    kind = dtype(kind) if isinstance(kind, str) else kind
    empty = call(f"numpy.{core}.multiarray", "_reconstruct", name("numpy", "ndarray"), (0,), data(b"b"))
    return empty + push((1, shape, kind, fortran, content)) + b"b"


def frombuffer(shape, kind, content, order="C", core="core") -> bytes:
    """An array of numbers in protocol 5."""
    kind = dtype(kind) if isinstance(kind, str) else kind
    content = b"\x96" + struct.pack("<Q", len(content)) + content
    return call(f"numpy.{core}.numeric", "_frombuffer", content, kind, shape, order)


def scalar(value: np.generic, core="core") -> bytes:
    kind = value.dtype.str[1:]
    return call(f"numpy.{core}.multiarray", "scalar", dtype(kind), data(value.tobytes()))


def objects(cells: list, core="core") -> bytes:
    return reconstructed((len(cells),), "O8", cells, core=core)


def integers(values, core="core") -> bytes:
    return reconstructed((len(values),), "i8", data(np.array(values, "<i8").tobytes()), core=core)


def index(array: bytes) -> bytes:
    of = name("pandas.core.indexes.base", "Index")
    return call("pandas.core.indexes.base", "_new_Index", of, {"data": array, "name": None})


def range_index(start, stop, step=1) -> bytes:
    of = name("pandas.core.indexes.range", "RangeIndex")
    return call(
        "pandas.core.indexes.base", "_new_Index", of, {"name": None, "start": start, "stop": stop, "step": step}
    )


def block(values: bytes, placement) -> bytes:
    return call("pandas._libs.internals", "_unpickle_block", values, placement, 2)


def part(start, stop, step=1) -> bytes:
    return call("builtins", "slice", start, stop, step)


def frame(blocks, columns, rows: bytes, attrs=None) -> bytes:
    """A pickled frame, from the opcodes of its blocks and its index; `columns` may be opcodes as well."""
    columns = columns if isinstance(columns, bytes) else index(objects(columns))
    blocks = blocks if isinstance(blocks, bytes) else tuple(blocks)
    manager = call("pandas.core.internals.managers", "BlockManager", blocks, [columns, rows])
    state = {"_mgr": manager, "_typ": "dataframe", "_metadata": [], "attrs": {} if attrs is None else attrs}
    state["_flags"] = {"allows_duplicate_labels": True}
    return pickled(name("pandas.core.frame", "DataFrame") + b")\x81" + push(state) + b"b")


def analysis(n: int = 2, rows: bytes | None = None, attrs=None, **cells) -> bytes:
    """An archive's frame of n images; `cells` replaces columns, by lists of what `push` takes."""
    files = [f"n01440764/ILSVRC2012_val_{row:08}.JPEG" for row in range(n)]
    columns = dict.fromkeys(COLUMNS, [[]] * n) | {
        "wnet_id": ["n01440764"] * n,
        "file_name": [file[10:] for file in files],
        "img_rel_path": files,
        "target": [0] * n,
        "multi_label": [[0]] * n,
        "is_problematic": [False] * n,
        "top1": [0] * n,
        "error_types": [["correct"]] * n,
    }
    columns |= cells
    values = [cell for column in columns.values() for cell in column]
    blocks = [block(reconstructed((len(columns), n), "O8", values), part(0, len(columns)))]
    return frame(blocks, list(columns), range_index(0, n) if rows is None else rows, attrs)


def in_cell(opcodes: bytes) -> bytes:
    """A frame with the object of these opcodes in a cell, otherwise sound."""
    return analysis(wnet_id=[opcodes, "n01440764"])


# --- names -----------------------------------------------------------------------------------------------------------

NAMES = [line.split() for line in """
os system | posix system | nt system | os popen | os execv | subprocess Popen | subprocess check_output | pty spawn
builtins eval | builtins exec | builtins getattr | builtins setattr | builtins __import__ | builtins open
builtins compile | builtins print | builtins object | builtins type | builtins bytearray | builtins map
__builtin__ eval | __builtin__ slice | importlib import_module | importlib._bootstrap __import__ | runpy run_path
operator attrgetter | operator methodcaller | operator itemgetter | functools partial | functools reduce
codecs decode | codecs encode | _codecs encode | types FunctionType | types CodeType | types LambdaType
numpy load | numpy fromfile | numpy memmap | numpy save | numpy lib | numpy vectorize | numpy frombuffer
numpy.testing runstring | numpy.testing._private.utils runstring | numpy.f2py.crackfortran getlincoef
numpy.core.multiarray fromfile | numpy._core.multiarray array | numpy.core.numeric load | numpy.core _reconstruct
pandas read_pickle | pandas eval | pandas read_csv | pandas.io.common get_handle | pandas.io.pickle read_pickle
pandas.core.computation.eval eval | pandas.compat.pickle_compat load | pandas.core.frame Series
pandas.core.frame DataFrame.to_csv | pandas.core.frame DataFrame.__init__ | pandas.core.frame pandas.eval
pandas.core.frame DataFrame.__class__.__base__ | pandas.core.frame.DataFrame to_csv | numpy ndarray.tofile
numpy dtype.__class__ | numpy ndarray.__reduce__ | builtins slice.__class__ | builtins slice.__class__.__base__
pandas.core.indexes.base Index.to_frame | pandas.core.indexes.base com | numpy.core.multiarray scalar.__self__
copyreg _reconstructor | copyreg __newobj__ | copyreg add_extension | copy_reg _reconstructor | shutil rmtree
socket create_connection | ctypes CDLL | code InteractiveInterpreter | timeit timeit | webbrowser open | pip main
pickle loads | _pickle loads | pickle Unpickler | bdb Bdb.run | cProfile run | pdb run | logging.config _resolve
multiprocessing.util spawnv_passfds | imagenet_errors.files write_text | imagenet_errors.pickles read_frame
torch load | joblib load | __main__ main | sys modules | sys exit | signal raise_signal | os _exit | gc collect
""".replace("\n", "|").split("|") if line.split()]  # fmt: skip


def forms(module: str, attribute: str, *arguments) -> dict[str, bytes]:
    """Every way in which a pickle can call a name."""
    old, given = f"c{module}\n{attribute}\n".encode(), push(arguments)
    return {
        "GLOBAL": pickled(old + given + b"R", 0),
        "STACK_GLOBAL": pickled(name(module, attribute) + given + b"R"),
        "INST": pickled(b"(" + b"".join(map(push, arguments)) + f"i{module}\n{attribute}\n".encode(), 0),
        "OBJ": pickled(b"(" + old + b"".join(map(push, arguments)) + b"o"),
        "NEWOBJ": pickled(name(module, attribute) + given + b"\x81"),
        "NEWOBJ_EX": pickled(name(module, attribute) + given + b"}\x92"),
        "BUILD": pickled(name(module, attribute) + push({"x": 1}) + b"b"),
        "a cell": in_cell(name(module, attribute) + given + b"R"),
        "attrs": analysis(attrs={"open_world": old + given + b"R"}),
    }


# --- allowed names, abused -------------------------------------------------------------------------------------------

LAUGHS = b"]" + b"".join(b"\x940]h" + bytes([i]) + b"ah" + bytes([i]) + b"a" for i in range(60))
"""A list of the same list twice, of the same list twice, ...: 2**60 in all."""
TUPLE_LAUGHS = b")" + b"".join(b"\x94h" + bytes([i]) + b"\x86" for i in range(60))
ITSELF = b"]\x94h\x00a"
ALLOWED = {
    "slice": ("builtins", "slice"),
    "DataFrame": ("pandas.core.frame", "DataFrame"),
    "BlockManager": ("pandas.core.internals.managers", "BlockManager"),
    "_unpickle_block": ("pandas._libs.internals", "_unpickle_block"),
    "_new_Index": ("pandas.core.indexes.base", "_new_Index"),
    "Index": ("pandas.core.indexes.base", "Index"),
    "RangeIndex": ("pandas.core.indexes.range", "RangeIndex"),
    "ndarray": ("numpy", "ndarray"),
    "dtype": ("numpy", "dtype"),
    "_reconstruct": ("numpy.core.multiarray", "_reconstruct"),
    "scalar": ("numpy._core.multiarray", "scalar"),
    "_frombuffer": ("numpy.core.numeric", "_frombuffer"),
}


def of_values(values: bytes, placement=None, columns=("a", "b"), rows=None) -> bytes:
    """A frame of one block."""
    placement = part(0, 2) if placement is None else placement
    return frame([block(values, placement)], list(columns), range_index(0, 2) if rows is None else rows)


SOUND = frombuffer((2, 2), "i8", bytes(32))


OBJECTS_FLAG = call("numpy", "dtype", "i8", False, True) + push((3, "<", None, None, None, -1, -1, 63)) + b"b"
SINGLE_ABUSES = {
    "pointers as objects": of_values(frombuffer((2, 2), "O8", b"\x41" * 32)),
    "objects without their list": of_values(reconstructed((2, 2), "O8", data(b"\x41" * 32))),
    "numbers from a list": of_values(reconstructed((2, 2), OBJECTS_FLAG, [1, 2, 3, 4])),
    "fields": of_values(frombuffer((2, 2), call("numpy", "dtype", "V8"), bytes(32))),
    "texts": of_values(frombuffer((2, 2), "U2", bytes(32))),
    "floats": of_values(frombuffer((2, 2), "f8", bytes(32))),
    "times": of_values(frombuffer((2, 2), "M8", bytes(32))),
    "a dtype of a list": of_values(frombuffer((2, 2), call("numpy", "dtype", ["i8"]), bytes(32))),
    "no byte order": of_values(frombuffer((2, 2), dtype("i8", "x"), bytes(32))),
    "an invalid byte order": of_values(frombuffer((2, 2), call("numpy", "dtype", "i8") + push(5) + b"b", bytes(32))),
    "a huge shape": of_values(reconstructed((2**30, 2**30), "O8", [])),
    "a shape beyond 64 bits": of_values(
        reconstructed(b"(\x8a\x09" + b"\xff" * 8 + b"\x00K\x02t", "O8", []), rows=range_index(0, 0)
    ),
    "a negative shape": of_values(reconstructed((-2, -2), "O8", [1, 2, 3, 4])),
    "a shape of truths": of_values(reconstructed((True, True), "O8", [1])),
    "a shape without dimensions": of_values(reconstructed((), "O8", [1])),
    "a shape of three dimensions": of_values(reconstructed((2, 2, 1), "O8", [1, 2, 3, 4])),
    "too many objects": of_values(reconstructed((2, 2), "O8", [1] * 5)),
    "too few objects": of_values(reconstructed((2, 2), "O8", [1] * 3)),
    "too few bytes": of_values(frombuffer((2, 2), "i8", bytes(31))),
    "too many bytes": of_values(frombuffer((2, 2), "i8", bytes(40))),
    "another order": of_values(frombuffer((2, 2), "i8", bytes(32), order="K")),
    "slices of texts": of_values(SOUND, call("builtins", "slice", "a", "b", "c")),
    "slices of frames": of_values(SOUND, call("builtins", "slice", SOUND, SOUND)),
    "a slice of step 0": of_values(SOUND, part(0, 2, 0)),
    "places elsewhere": of_values(SOUND, integers([0, 2])),
    "places before": of_values(SOUND, integers([-1, 0])),
    "one place twice": of_values(SOUND, integers([0, 0])),
    "places in two dimensions": of_values(SOUND, reconstructed((2, 1), "i8", data(bytes(16)))),
    "places that are texts": of_values(SOUND, objects(["a", "b"])),
    "one block twice": frame([block(SOUND, part(0, 2))] * 2, ["a", "b"], range_index(0, 2)),
    "a column twice": of_values(SOUND, columns=("a", "a")),
    "columns that are numbers": of_values(SOUND, columns=(0, 1)),
    "an index of truths": of_values(SOUND, rows=index(frombuffer((2,), "b1", bytes(2)))),
    "an index of texts": of_values(SOUND, rows=index(objects(["a", "b"]))),
    "a range of texts": of_values(SOUND, rows=range_index("a", "b")),
    "a range of step 0": of_values(SOUND, rows=range_index(0, 2, 0)),
    "a range that starts with truth": of_values(SOUND, rows=range_index(False, 2)),
    "a range without an end": of_values(SOUND, rows=range_index(0, None)),
    "the blocks in a list": frame(push([block(SOUND, part(0, 2))]), ["a", "b"], range_index(0, 2)),
    "the blocks are a list of itself": frame(ITSELF, ["a", "b"], range_index(0, 2)),
    "columns are a list of itself": of_values(reconstructed((2, 2), "O8", ITSELF)),
    "blocks without end": frame(TUPLE_LAUGHS, ["a", "b"], range_index(0, 2)),
    "cells without end": of_values(reconstructed((2, 2), "O8", LAUGHS)),
    "columns without end": frame([block(SOUND, part(0, 2))], index(objects([LAUGHS])), range_index(0, 2)),
    "a frame in a frame": pickled(name(*ALLOWED["DataFrame"]) + b")\x81" + of_values(SOUND)[2:-1] + b"b"),
    "a call as a key": pickled(b"}" + call("numpy", "dtype", "i8") + b"Ns"),
    "a list as a key": pickled(b"}" + b"]Ns"),
    "a list built": pickled(b"]" + push({"append": 1}) + b"b"),
    "a dictionary built": pickled(b"}" + push({"__class__": 1}) + b"b"),
    "a text called": pickled(text("os.system") + push(("true",)) + b"R"),
    "a number called": pickled(push(5) + b")R"),
    "slots of a class": pickled(name("numpy", "dtype") + push((None, {"__init__": 1})) + b"b"),
    "another class for an object": pickled(
        name(*ALLOWED["DataFrame"]) + b")\x81" + push((None, {"__class__": 1})) + b"b"
    ),
    "a persistent id": pickled(b"Pos.system\n", 0),
    "a binary persistent id": pickled(text("os.system") + b"Q"),
    "a buffer from outside": pickled(b"\x97", 5),
    "a read-only buffer": pickled(text("a") + b"\x98", 5),
    "an unknown protocol": pickled(b"N", 9),
    "an unknown opcode": pickled(b"\xff"),
    "nothing on the stack": pickled(b"0"),
    "no mark": pickled(b"t"),
    "a name of numbers": pickled(number(1) + number(2) + b"\x93"),
    "what was not stored": pickled(b"h\x07"),
    "what was not stored, far away": pickled(b"j\xff\xff\xff\x7f"),
    "a second pickle behind nothing": pickled(b"N") + pickled(call("os", "system", "true")),
}


def abuses() -> dict[str, bytes]:
    """{fault: frame that uses only allowed names}."""
    found = dict(SINGLE_ABUSES)
    for called, where in ALLOWED.items():
        found[f"{called} itself"] = pickled(name(*where))
        found[f"{called} is built as a class"] = pickled(name(*where) + push({"_mgr": None}) + b"b")
        found[f"{called} is built twice"] = pickled(call(*where) + push({}) + b"b" + push((1, 2, 3, 4, 5)) + b"b")
        for count in (0, 1, 7):
            found[f"{called} of {count}"] = pickled(call(*where, *[1] * count))
        found[f"new {called}"] = pickled(name(*where) + b")\x81" + push({"_mgr": 1}) + b"b")
        found[f"{called} is called without a tuple"] = pickled(name(*where) + push([1]) + b"R")
        for way, opcodes in {"new": b")\x81", "called": b")R", "itself": b""}.items():
            odd = name(*where) + opcodes
            found[f"{called} {way} as values"] = of_values(odd)
            found[f"{called} {way} as placement"] = of_values(SOUND, odd)
            found[f"{called} {way} as a dtype"] = of_values(frombuffer((2, 2), odd, bytes(32)))
            found[f"{called} {way} as a shape"] = of_values(frombuffer(odd, "i8", bytes(32)))
            found[f"{called} {way} as the index"] = of_values(SOUND, rows=odd)
            found[f"{called} {way} as the columns"] = frame([block(SOUND, part(0, 2))], odd, range_index(0, 2))
            found[f"{called} {way} as the blocks"] = frame(odd, ["a", "b"], range_index(0, 2))
    for opcode, what in {b"\x8e": "bytes", b"\x96": "bytearray", b"\x8d": "text", b"\x95": "frame"}.items():
        for size in (2**60, 2**63 - 1, 2**64 - 1):
            found[f"{what} of {size} bytes"] = pickled(opcode + struct.pack("<Q", size) + b"a")
    for opcode, what in {b"B": "bytes", b"X": "text", b"\x8b": "integer", b"T": "string"}.items():
        found[f"{what} of 2**31 - 1 bytes"] = pickled(opcode + struct.pack("<I", 2**31 - 1) + b"a")
        found[f"{what} of 2**32 - 1 bytes"] = pickled(opcode + struct.pack("<I", 2**32 - 1) + b"a")
    return found


def other_contents() -> dict[str, bytes]:
    """Contents that are not a pickled frame."""
    return {
        "nothing": b"",
        "a full stop": b".",
        "a text": b"this is no pickle\n",
        "a page": b"<!DOCTYPE html><html><body>404</body></html>",
        "zeros": bytes(1000),
        "a gzip file": b"\x1f\x8b\x08\x00" + bytes(100),
        "a parquet file": b"PAR1" + bytes(100) + b"PAR1",
        **{f"a pickled {type(thing).__name__}": pickle.dumps(thing) for thing in ({}, [], (), "a", 5, None, b"a", {1})},
        "a pickled array": pickle.dumps(np.arange(5)),
    }


# --- bombs: read them only in another process -------------------------------------------------------------


def _repeated(opcodes: bytes, times: int) -> bytes:
    """One object, many times: a few bytes each."""
    return opcodes + b"\x94" + b"h\x00" * (times - 1)


BOMBS = {
    "stored far away": lambda: pickled(b"Nr" + struct.pack("<I", 2**31 - 1)),
    "stored far away in text": lambda: pickled(b"Np" + str(2**40).encode() + b"\n"),
    "a key without end": lambda: pickled(b"}" + TUPLE_LAUGHS + b"Ns"),
    "a set without end": lambda: pickled(b"\x8f(" + TUPLE_LAUGHS + b"\x90"),
    "a frozen set without end": lambda: pickled(b"(" + TUPLE_LAUGHS + b"\x91"),
    "a key two million deep": lambda: pickled(b"})" + b"\x85" * 2_000_000 + b"Ns"),
    "a tuple two million deep": lambda: pickled(b")" + b"\x85" * 2_000_000),
    "labels two million deep": lambda: analysis(multi_label=[b"]" * 2_000_000 + b"a" * 1_999_999, [0]]),
    "labels without end": lambda: analysis(multi_label=[LAUGHS, [0]]),
    "types without end": lambda: analysis(error_types=[LAUGHS, ["correct"]]),
    "types that hold themselves": lambda: analysis(error_types=[ITSELF, ["correct"]]),
    "a range of two thousand million": lambda: analysis(rows=range_index(0, 2**31 - 1)),
    "a range of fifty million": lambda: analysis(rows=range_index(0, 5 * 10**7)),
    "a long name among many": lambda: analysis(
        400, img_rel_path=["n01440764/" + "x" * 5_000_000, *(f"n01440764/{row}" for row in range(399))]
    ),
    "a long list among many": lambda: analysis(5000, multi_label=[[0] * 400_000, *[[0]] * 4999]),
    "a long list many times": lambda: analysis(
        30_000, multi_label=[b"](" + b"K\0" * 100_000 + b"e\x94", *[b"h\0"] * 29_999]
    ),
    "a long type many times": lambda: analysis(
        error_types=[b"](" + _repeated(text("x" * 1_000_000), 5000) + b"e", ["correct"]]
    ),
    "a block many times": lambda: frame(
        b"(" + _repeated(block(frombuffer((1, 10**6), "i8", bytes(8 * 10**6)), part(0, 1)), 200_000) + b"t",
        ["a"],
        range_index(0, 10**6),
    ),
}
