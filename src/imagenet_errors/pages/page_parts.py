"""What all pages have: scripts that run by their hashes alone, and a policy that asks no other host for anything."""

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from imagenet_errors.errors import InputError
from imagenet_errors.files import format_json_for_html
from imagenet_errors.pages.pictures import describe_held


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


def render_page(title: str, body: str, style: str, scripts: Sequence[str], payload: dict[str, Any]) -> str:
    """A page with a gallery as HTML. The browser runs its scripts alone, and asks no other host for anything.

    Args:
        title: As text.
        body: What the scripts fill, as HTML.
        style: The style sheet.
        scripts: In their order.
        payload: What they read, with `made_from` and `images`.
    """
    texts = {
        "title": html.escape(title),
        "policy": make_policy(*scripts),
        "style": style,
        "body": body,
        "data": format_json_for_html(payload),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
        "version": payload["made_from"]["version"],
        "held": describe_held(payload["images"]),
    }
    return PAGE.format_map(texts)


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
{body}
<footer><p>Made by imagenet-errors {version}.{held} Keys: / search, arrows move, Enter opens, Esc closes.</p></footer>
<dialog id="details" aria-labelledby="details-title"></dialog>
<script type="application/json" id="data">{data}</script>
{scripts}
</body>
</html>
"""
