"""Hostile and damaged pickles: refused with a clear message; nothing in them runs, and no conversion ends early."""

import copyreg
import faulthandler
import multiprocessing
import os
import pickle
import pickletools
import random
import resource
import signal
import sys
import threading
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pyarrow.parquet  # noqa: F401 - loaded before processes are forked, which have little time
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_errors.errors import InputError
from imagenet_errors.paper_archive import convert
from imagenet_errors.paper_archive.analysis_frames import ArchivedAnalysis, Reader
from imagenet_errors.paper_archive.pickled_frames import read_frame
from imagenet_errors.paths import Artefacts
from tests.helpers import hostile_pickles as made

HARMLESS = {"object.__getattr__", "sys._getframe", "sys.excepthook"}  # Python prints when a bytearray finds no room


@pytest.fixture(scope="session")
def events():
    """Python's audit events: imports, files, programs, names found for a pickle."""
    seen = Events()

    def note(event, arguments):
        if seen.on == threading.get_ident() and event not in HARMLESS:
            seen.append((event, *arguments))

    sys.addaudithook(note)
    return seen


class Events(list):
    """The events of one thread while `caught` is active."""

    on = None

    @contextmanager
    def caught(self):
        self.clear()
        self.on = threading.get_ident()
        yield
        self.on = None


@pytest.fixture
def refusal(events):
    """Reads a pickle that must be refused; returns the message. Nothing may have run."""

    def refuse(content) -> str:
        with events.caught(), pytest.raises(InputError) as caught:
            read_frame(content, "THIS FILE")
        message = str(caught.value)
        assert not events
        assert message.startswith("THIS FILE is ")
        assert len(message) < 600
        return message

    return refuse


def test_events_show_what_a_pickle_runs(events, tmp_path):
    """The other tests can fail: these events occur when Python's own unpickler reads the pickles."""
    for form in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ"):
        marker = tmp_path / form
        with events.caught():
            pickle.loads(made.forms("os", "system", f"touch {marker}")[form])
        assert marker.exists()
        assert {"pickle.find_class", "os.system"} <= {event for event, *_ in events}


@pytest.mark.parametrize(("module", "attribute"), made.NAMES, ids=map(".".join, made.NAMES))
def test_foreign_name_is_refused(refusal, module, attribute, tmp_path):
    for form, content in made.forms(module, attribute, f"touch {tmp_path / 'marker'}").items():
        assert f"it names {module}.{attribute}, which no table needs" in refusal(content), form
    assert not list(tmp_path.iterdir())


ABUSES = made.abuses() | made.other_contents()


@pytest.mark.parametrize("what", ABUSES)
def test_abuse_of_allowed_names_is_refused(refusal, what):
    refusal(ABUSES[what])


@pytest.mark.parametrize("opcode", [b"\x82\x91", b"\x83\x91\x00", b"\x84\x91\x00\x00\x00"], ids=["1", "2", "4"])
def test_registered_extension_is_refused(refusal, opcode):
    copyreg.add_extension("os", "system", 0x91)
    try:
        message = refusal(made.pickled(opcode + made.push(("true",)) + b"R"))
    finally:
        copyreg.remove_extension("os", "system", 0x91)
    assert "os.system" in message


@pytest.mark.parametrize("name", ["x" * 1_000_000, "\x1b]0;title\x07\x1b[31m", "two\nlines"])
def test_refused_name_is_printed_short_and_escaped(refusal, name):
    message = refusal(made.pickled(made.name("os", name)))
    assert "it names " in message
    assert "os." in message
    assert message.isprintable()


def apart(function, *arguments, seconds=10):
    """The function's result from another process; fails if that dies or takes longer."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def work():
        os.setpgrp()
        faulthandler.disable()  # processes are meant to die
        try:
            sender.send(function(*arguments))
        except BaseException as error:
            sender.send(error)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    try:
        if not receiver.poll(seconds):
            pytest.fail(f"it ended with {process.exitcode}" if process.exitcode else f"it hangs for {seconds} s")
        result = receiver.recv()
    except EOFError:
        pytest.fail("the process died")
    finally:
        if process.is_alive():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                process.kill()
        process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def limited(function, *arguments):
    """Call the function with 1 GB more memory than this process has."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), -1))
    return function(*arguments)


def outcomes(contents: list[bytes], reader: Reader) -> list[str]:
    """The outcome of each: `read`, `refused`, or what went wrong."""
    found = []
    for content in contents:
        try:
            found.append("read" if isinstance(reader.read(content, "here"), ArchivedAnalysis) else "no analysis")
        except InputError as error:
            found.append("refused" if str(error).startswith("here") else f"says {error}")
        except BaseException as error:
            found.append(repr(error))
    return found


@pytest.fixture(scope="module")
def reader(classes):
    return Reader(classes, frozenset())


def test_truncated_frame_is_refused(pickles, reader):
    content = made.analysis(3)
    cut = [content[:size] for size in range(len(content))]
    cut += [whole[: len(whole) * part // 4] for whole in pickles.values() for part in range(4)]
    assert set(apart(limited, outcomes, cut, reader, seconds=30)) == {"refused"}


CELLS_OF_ALL_KINDS = {
    "top1": [made.scalar(np.int64(7)), 0, 3],
    "multi_label": [made.integers([0, 7]), [0, 5], [0]],
    "clip_top10_train_indices": [[1, 2], [], [3]],
    "clip_top10_train_targets": [[1, 2], [], [3]],
    "clip_top10_train_files": [["a", "b"], [], ["c"]],
    "error_types": [
        ["correct wrt multi label (ambiguous/multi-object)"],
        ["correct"],
        ["potentially OOV, detected by CLIP", "Top-5 alternative proposals: [(5, 'a', '9.10%')] | out of 7"],
    ],
}


@pytest.mark.parametrize("masks", [(0xFF,), pytest.param((0x01, 0x10, 0x80), marks=pytest.mark.heavy)])
def test_changed_byte_is_read_or_refused(reader, masks):
    """Every byte of a small frame."""
    content = made.analysis(3, rows=made.index(made.integers([1, 4, 9])), attrs={"a": 1}, **CELLS_OF_ALL_KINDS)
    assert outcomes([content], reader) == ["read"]
    changed = [
        content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
        for place, mask in product(range(len(content)), masks)
    ]
    found = apart(limited, outcomes, changed, reader, seconds=60)
    assert set(found) == {"read", "refused"}
    assert found.count("refused") > len(found) / 2


def test_mixed_opcodes_are_read_or_refused(reader):
    """Opcodes of a frame exchanged, repeated and left out."""
    rng = random.Random(6)
    content = made.analysis(3, **CELLS_OF_ALL_KINDS)
    places = [place for _, _, place in pickletools.genops(content)] + [len(content)]
    opcodes = [content[start:end] for start, end in pairwise(places)]
    mixed = []
    for _ in range(3000):
        mutant = list(opcodes)
        for _ in range(rng.randint(1, 3)):
            a, b = rng.randrange(2, len(mutant)), rng.randrange(2, len(mutant))
            match rng.randrange(4):
                case 0:
                    mutant[a], mutant[b] = mutant[b], mutant[a]
                case 1:
                    mutant[a] = rng.choice(opcodes)
                case 2:
                    mutant.insert(a, rng.choice(opcodes))
                case 3:
                    del mutant[a]
        mixed.append(b"".join(mutant))
    assert set(apart(limited, outcomes, mixed, reader, seconds=60)) == {"read", "refused"}


@given(st.binary(max_size=60))
@settings(max_examples=300)
def test_random_bytes_are_refused(content):
    with pytest.raises(InputError, match=r"^here is "):
        read_frame(content.replace(b"r", b"q").replace(b"p", b"q"), "here")  # those store far away


# --- bombs: all time or memory, or the end of the process -----------------------------------------------------------


def convert_beside(folder, content: bytes, neighbours: bool) -> dict[str, str]:
    """Convert two hostile analyses beside two sound ones, in processes with little memory and time."""
    convert.MEMORY = 1 << 30
    convert.SECONDS = 2
    artefacts = Artefacts(folder)
    contents = {"a--sound": made.analysis(), "m--hostile": content, "n--hostile": content, "z--sound": made.analysis()}
    for model, each in contents.items():
        path = artefacts.archived("imagenet", model)
        path.parent.mkdir(parents=True)
        path.write_bytes(each)
    return convert.convert(artefacts, "imagenet", jobs=2, neighbours=neighbours)


ONE_OF_EACH = ("stored far away", "a tuple two million deep", "labels without end")
BOMBS = [*ONE_OF_EACH, *(pytest.param(what, marks=pytest.mark.heavy) for what in made.BOMBS if what not in ONE_OF_EACH)]


@pytest.mark.parametrize("what", BOMBS)
def test_bomb_is_refused_and_others_are_converted(what, tmp_path):
    """Whatever it does to the process that reads it."""
    faults = apart(convert_beside, tmp_path, made.BOMBS[what](), True, seconds=90)
    assert sorted(faults) == ["m--hostile", "n--hostile"]
    for model, message in faults.items():
        assert message.startswith(str(tmp_path / "imagenet" / model))
        assert len(message) < 1000
    assert len(list(tmp_path.glob("imagenet/*/errors_analysis.parquet"))) == 2


def test_bomb_in_neighbours_that_are_not_wanted_is_ignored(tmp_path):
    content = made.analysis(clip_top10_train_files=[made.LAUGHS, []])
    faults = apart(convert_beside, tmp_path, content, False, seconds=90)
    assert set(faults) <= {"m--hostile", "n--hostile"}
    assert (tmp_path / "imagenet" / "z--sound" / "errors_analysis.parquet").exists()


def proposing(listed: str) -> dict[str, list]:
    """The `error_types` of two images, one with these proposals."""
    proposals = f"Top-5 alternative proposals: [{listed}] | out of 5"
    return {"error_types": [["potentially OOV, detected by CLIP", proposals], ["correct"]]}


ODD_CELLS = {
    "a number of no dtype": {
        "target": [made.call("numpy.core.multiarray", "scalar", 5, made.data(bytes(8))), 0],
    },
    "a number of objects": {
        "target": [made.call("numpy.core.multiarray", "scalar", made.dtype("O8"), made.data(bytes(8))), 0],
    },
    "a number never made": {"target": [made.name("numpy.core.multiarray", "scalar") + b")\x81", 0]},
    "a number's name": {"target": [made.name("numpy.core.multiarray", "scalar"), 0]},
    "an array never made": {"multi_label": [made.name("numpy.core.multiarray", "_reconstruct") + b")\x81", [0]]},
    "an array of no dtype": {"multi_label": [made.reconstructed((1,), made.push(5), made.data(bytes(8))), [0]]},
    "a buffer of three": {"multi_label": [made.call("numpy.core.numeric", "_frombuffer", 1, 2, (1,)), [0]]},
    "a dtype": {"multi_label": [[made.dtype("i8")], [0]]},
    "a frame": {"multi_label": [[made.name("pandas.core.frame", "DataFrame") + b")\x81"], [0]]},
    "truth as a class": {"target": [False, False]},
    "a fraction as a class": {"target": [b"G" + bytes(8), 0]},
    "class 1000": {"top1": [1000, 0]},
    "class -1": {"top1": [-1, 0]},
    "label 1000": {"multi_label": [[0, 1000], [0]]},
    "labels that are all texts": {"multi_label": ["0", "0"]},
    "labels that are all dictionaries": {"multi_label": [{0: 1}, {0: 1}]},
    "labels that are all numbers": {"multi_label": [0, 0]},
    "types that are all dictionaries": {"error_types": [{"correct": 1}, {"correct": 1}]},
    "types that are all texts": {"error_types": ["correct", "correct"]},
    "no types": {"error_types": [[], ["correct"]]},
    "an unknown type": {"error_types": [["correct-ish"], ["correct"]]},
    "a type after a type": {"error_types": [["correct", "correct"], ["correct"]]},
    "a note without a type": {"error_types": [["correct (top-1=target) but target is wrong/unclear"], ["correct"]]},
    "a type without its labels": {"error_types": [["same superclass (fine-grained)", "[a]"], ["correct"]]},
    "another class's folder": {"img_rel_path": ["n01443537/a.JPEG", "n01440764/b.JPEG"]},
    "no class folder": {"img_rel_path": ["a.JPEG", "n01440764/b.JPEG"]},
    "an image twice": {"img_rel_path": ["n01440764/b.JPEG", "n01440764/b.JPEG"]},
    "an original label that is not accepted": {"multi_label": [[5], [0]]},
    "problems that are numbers": {"is_problematic": [0, 0]},
    "neighbours without classes": {"clip_top10_train_indices": [[1], []]},
    "proposals that are a sum": proposing("1 + 1"),
    "proposals that are a call": proposing("print(1)"),
    "proposals below proposals": proposing("[" * 4900 + "]" * 4900),
    "a score that is no number": proposing("(1, 'a', 'nan%')"),
    "half a letter": {"img_rel_path": [b"X\x0d\0\0\0n01440764/\xed\xa0\x80", "n01440764/b.JPEG"]},
}


@pytest.mark.parametrize("what", ODD_CELLS)
def test_odd_cell_is_refused(classes, what):
    with pytest.raises(InputError, match=r"^here"):
        Reader(classes, frozenset()).read(made.analysis(**ODD_CELLS[what]), "here")
