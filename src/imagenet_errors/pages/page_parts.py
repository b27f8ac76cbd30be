"""What all pages have: scripts that run by their hashes alone, and a policy that asks no other host for anything."""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path

from imagenet_errors.errors import InputError


def check_name(path: Path) -> None:
    """Raises `InputError` where a page would not be named as one."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a page is a file named .html")


def join_scripts(scripts: Iterable[str]) -> str:
    """One script of several, whose names are its own."""
    return "(() => {\n'use strict';\n" + "".join(scripts) + "})();\n"


def make_policy(*scripts: str) -> str:
    """The content security policy of a page that has these scripts inline."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src 'self' file: data:;"
        " base-uri 'none'; form-action 'none'"
    )
