"""What a cell can show: Markdown, pictures with alternative texts, and boxes that say what is missing."""

import html
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from imagenet_errors.errors import InputError

BOX = "border: 1px solid #c09000; border-left-width: 6px; padding: 0.5em 1em; max-width: 60em"


def show_box(text: str) -> None:
    """Show a short text in a frame."""
    from IPython.display import display

    display({"text/html": f'<div style="{BOX}">{html.escape(text)}</div>', "text/plain": text}, raw=True)


@contextmanager
def errors_in_boxes() -> Iterator[None]:
    """Show the line of an `InputError` in a box, and go on; the folder that a flag names is in the first cell."""
    try:
        yield
    except InputError as error:
        show_box(str(error).replace("another --artefacts_dir", "another artefacts_dir in the first cell"))


def show_markdown(text: str) -> None:
    from IPython.display import Markdown, display

    display(Markdown(textwrap.dedent(text).strip()))


def show_picture(content: bytes, description: str, width: int) -> None:
    """Show a PNG, `width` pixels wide; the description stands in for it where it cannot be seen."""
    from IPython.display import Image, display

    display(Image(content, format="png", width=width, alt=description))
