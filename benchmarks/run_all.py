"""Run the benchmarks one after the other; write what they print, and on which machine, to RESULTS.md."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SCRIPTS = ("analysis", "zoo", "inference", "many_models")
LIBRARIES = ("numpy", "pyarrow", "torch", "timm")
HEAD = """# Results of the benchmarks

`make bench` writes this page: what each script of [README.md](README.md) prints, all of one run. Seconds hold for the
machine below; compare ratios.

"""


def describe_machine() -> str:
    """Processor, memory, system and libraries, a line each."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else None
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    lines = [
        f"{date.today()}, {found[1] if found else platform.processor()}, {os.cpu_count()} cores, {memory / 1e9:.0f} GB",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {versions}",
    ]
    return "".join(f"- {line}\n" for line in lines)


def run(script: str) -> str:
    """What a benchmark prints, shown on the way; ends this process with its status where it fails."""
    lines = []
    with subprocess.Popen([sys.executable, FOLDER / f"{script}.py"], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        sys.exit(f"{script}.py failed: RESULTS.md is as it was")
    return "".join(lines)


def main() -> None:
    sections = [f"\n## {script}.py\n\n```\n{run(script)}```\n" for script in SCRIPTS]
    (FOLDER / "RESULTS.md").write_text(HEAD + describe_machine() + "".join(sections))


if __name__ == "__main__":
    main()
