"""Runs of scripts that begin at once, and can be disturbed: a process that has imported everything forks them.

`Warm` is that process as tests see it; `python -m tests.warm` is it. What disturbs a run is named by `Fault`s:
functions of this module that are called in the fork before the script's main function.
"""

import ctypes
import errno
import gc
import importlib
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT, Outcome

SCRIPTS = ("collect_predictions", "compute_clip_embeddings", "download_artefacts", "evaluation", "list_latex")
SCRIPTS += ("make_artefacts", "utils_plot")
LIBRARIES = (
    "matplotlib.pyplot",
    "open_clip",
    "pandas",
    "plotly.offline",
    "pyarrow.parquet",
    "timm",
    "torchvision",
)
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000  # of Linux's sched.h
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 1 << 14, 1 << 18  # of its mount.h
PR_SET_CHILD_SUBREAPER = 36  # of its prctl.h
LEFT_WORKERS = 98  # for an exit status: what the run started outlived it
NO_NAMESPACE = 99  # exit status of a run whose disk could not be arranged
SECONDS_FOR_WORKERS = 60  # to end after their run; a bound, for they end at once


class Fault(NamedTuple):
    """A function of this module, by name, and its arguments."""

    name: str
    arguments: tuple = ()


def fail_calls(folder: str, number: int, first: int, once: bool) -> None:
    """From the `first` call on that writes below a folder, or that one alone, the system refuses with an errno."""

    def refuse(count: int, path: str) -> None:
        if count == first or (count > first and not once):
            raise OSError(number, os.strerror(number), path)

    _before_calls(folder, WRITES, refuse)


def kill_at_call(folder: str, first: int) -> None:
    """The run is killed right before its `first` call that changes something below a folder."""

    def kill(count: int, _: str) -> None:
        if count == first:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    _before_calls(folder, WRITES | REMOVALS, kill)


def count_calls(folder: str, removals: bool, told: str) -> None:
    """Write the number of such calls to a file."""
    calls = _before_calls(folder, WRITES | (REMOVALS if removals else {}), lambda *_: None)
    AT_END.append(lambda: Path(told).write_text(str(int.from_bytes(calls[:]))))


def _before_calls(folder: str, places: dict, then: Callable[[int, str], object]) -> mmap.mmap:
    """Call `then(count, path)` before the calls in `places`, and before a file is synchronised.

    Calls of worker processes count as well; returns the memory in which they are counted.
    """
    calls, fsync = mmap.mmap(-1, 4), os.fsync

    def called(path) -> None:
        if path.startswith(folder):
            count = int.from_bytes(calls[:]) + 1
            calls[:] = count.to_bytes(4)
            then(count, path)

    def hook(event: str, arguments: tuple) -> None:
        if event in places and (path := places[event](arguments)) is not None:
            called(path)

    def synchronise(descriptor) -> None:
        called(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    os.fsync = synchronise
    sys.addaudithook(hook)
    return calls


def _opened(arguments: tuple) -> str | None:
    path, _, flags = arguments
    writes = flags & (os.O_WRONLY | os.O_RDWR) and isinstance(path, bytes | str | os.PathLike)
    return os.fsdecode(path) if writes else None


def _made(arguments: tuple) -> str | None:
    path = os.fsdecode(arguments[0])
    return None if os.path.isdir(path) else path


def _removed(arguments: tuple) -> str | None:
    name, folder = os.fsdecode(arguments[0]), arguments[1]
    path = name if folder < 0 else os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
    return path if os.path.lexists(path) else None


WRITES = {"open": _opened, "os.rename": lambda arguments: os.fsdecode(arguments[1]), "os.mkdir": _made}
REMOVALS = {"os.remove": _removed, "os.rmdir": _removed}


def small_disk(folder: str, pages: int, saved: str) -> None:
    """The folder is a disk of its own with so much room left; what is there when the run ends is copied to `saved`."""
    _own_mounts()
    inside = Path(folder)
    held = inside.with_name(f"{inside.name}.before")
    shutil.copytree(inside, held)
    _mount("tmpfs", folder, "tmpfs", 0, "size=1g")
    shutil.copytree(held, inside, dirs_exist_ok=True)
    shutil.rmtree(held)
    status = os.statvfs(folder)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    _mount("tmpfs", folder, "tmpfs", MS_REMOUNT, f"size={used + pages * status.f_frsize}")
    AT_END.append(lambda: shutil.copytree(inside, saved))


def read_only(folder: str) -> None:
    """Nothing can be written to the folder."""
    _own_mounts()
    _mount(folder, folder, None, MS_BIND, None)
    _mount(None, folder, None, MS_REMOUNT | MS_BIND | MS_RDONLY, None)


def without_reserve() -> None:
    """Large files are begun on a disk that is nearly full."""
    for name in ("files", "download", "public_files", "paper_archive.tar_reader"):
        importlib.import_module(f"imagenet_errors.{name}").check_room = lambda *_: None


def wait_for(path: str) -> None:
    """Begin when this file is there."""
    while not os.path.exists(path):
        time.sleep(0.001)


AT_END: list[Callable[[], object]] = []


def _own_mounts() -> None:
    """Mounts from now on are seen by this process and its children alone, and end with them."""
    libc, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNS):
        if libc.unshare(CLONE_NEWNS | CLONE_NEWUSER):
            os._exit(NO_NAMESPACE)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", name).write_text(text)
    _mount(None, "/", None, MS_REC | MS_PRIVATE, None)


def _mount(source, target, kind, flags: int, options) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]):
        print(f"mount: {errno.errorcode[ctypes.get_errno()]}", file=sys.stderr)
        os._exit(NO_NAMESPACE)


class Warm:
    """The process that forks runs.

    Args:
        folder: For what runs print.
    """

    def __init__(self, folder: Path):
        self.folder, self.count = folder, 0
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.warm", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        assert self.process.stdout.readline() == '"warm"\n'

    def _order(self, order: dict):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, script: str, *arguments, faults=(), **environment) -> int:
        """Begin a run; returns the process and its group."""
        self.count += 1
        words = [str(argument) for argument in arguments]
        output = str(self.folder / str(self.count))
        order = {"script": script, "arguments": words, "faults": faults, "environment": environment, "output": output}
        return self._order(order)

    def wait(self, run: int) -> Outcome:
        """What became of a run, once it and all its workers have ended; a negative status is a signal."""
        status, output = self._order({"wait": run})
        assert status != LEFT_WORKERS, "its workers outlive it"
        return Outcome(status, *(Path(f"{output}.{name}").read_text() for name in ("out", "err")))

    def run(self, script: str, *arguments, faults=(), **environment) -> Outcome:
        return self.wait(self.start(script, *arguments, faults=faults, **environment))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def serve(folder: Path) -> None:
    """Fork and await runs as standard input orders."""
    from tests.helpers import tiny_clip

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # workers of a killed run become children of this process
    tiny_clip.register(folder / "clip")
    for name in (*SCRIPTS, *LIBRARIES):
        importlib.import_module(name)
    _import_rest()
    gc.freeze()  # or every collection walks through all of that
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    outputs, ended = {}, {}
    print(json.dumps("warm"), file=answers, flush=True)
    while line := orders.readline():
        order = json.loads(line)
        if "wait" in order:
            answer = _await(order["wait"], ended), outputs.pop(order["wait"])
        else:
            answer = _fork(order)
            outputs[answer] = order["output"]
        print(json.dumps(answer), file=answers, flush=True)


def _import_rest() -> None:
    """All of our modules, which the scripts import late."""
    for path in (ROOT / "src" / "imagenet_errors").rglob("*.py"):
        importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))


def _await(run: int, ended: dict[int, int]) -> int:
    while run not in ended:
        _reap(*os.waitpid(-1, 0), ended)
    end = time.monotonic() + SECONDS_FOR_WORKERS  # after which they are killed, and reaped below
    while _is_group(run):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            _reap(pid, status, ended)
        elif time.monotonic() > end:
            with suppress(ProcessLookupError):  # they have ended just now
                os.killpg(run, signal.SIGKILL)
                ended[run] = LEFT_WORKERS
        else:
            time.sleep(0.002)
    return ended.pop(run)


def _reap(pid: int, status: int, ended: dict[int, int]) -> None:
    ended[pid] = os.waitstatus_to_exitcode(status)


def _is_group(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _fork(order: dict) -> int:
    """Begin the run, as a group of processes; returns its number."""
    streams = [os.open(f"{order['output']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC) for name in ("out", "err")]
    run = os.fork()
    os.setpgid(run, run)  # 0 and 0 in the fork: whoever is first
    if not run:
        _run(order, streams)
    for stream in streams:
        os.close(stream)
    return run


def _run(order: dict, streams: list[int]) -> None:
    """In the fork: call the script's main function, and end."""
    os.dup2(streams[0], 1)
    os.dup2(streams[1], 2)
    sys.argv = [f"{order['script']}.py", *order["arguments"]]
    os.environ.update(order["environment"])
    status = 0
    try:
        for name, arguments in order["faults"]:
            globals()[name](*arguments)
        script = importlib.import_module(order["script"])
        script.cli.run(script.main)
    except SystemExit as leaving:
        status = leaving.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    for step in AT_END:
        step()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    from tests.helpers import warm

    warm.serve(Path(sys.argv[1]))
    os._exit(0)  # libraries complain where they are taken down
