"""Two network namespaces with a link between them, which goes down and up. Linux, as root.

Test modules get the fixture through `pytest_plugins`. PYTEST_DONT_REWRITE: they import it as well.
"""

import os
import subprocess

import pytest


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


class Link:
    """Namespaces `near`, at ADDRESS, and `far`.

    Attributes:
        near, far: Prefixes of commands that run there.
    """

    ADDRESS = "10.231.7.1"

    def __init__(self):
        names = [f"{side}-{os.getpid()}" for side in ("near", "far")]
        self.names = names
        self.near, self.far = (("ip", "netns", "exec", name) for name in names)

    def make(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        near, far = self.names
        ip("-n", near, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", far)
        for name, address in ((near, self.ADDRESS), (far, "10.231.7.2")):
            ip("-n", name, "address", "add", f"{address}/24", "dev", "wire")
            ip("-n", name, "link", "set", "wire", "up")

    def set(self, state: str) -> None:
        """`up` or `down`."""
        ip("-n", self.names[1], "link", "set", "wire", state)

    def remove(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.fixture
def link():
    """A link that is up; skipped where namespaces cannot be made."""
    link = Link()
    try:
        link.make()
        yield link
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', None) or error}")
    finally:
        link.remove()
