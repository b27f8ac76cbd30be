"""What the paper says of architectures: artefacts/archs.csv."""

from dataclasses import dataclass

from imagenet_errors.files import read_csv
from imagenet_errors.paths import ARCHS, Artefacts


@dataclass(frozen=True)
class Architecture:
    """What the paper says of an architecture (artefacts/archs.csv).

    Attributes:
        group: For its figures, e.g. `ResNet`.
        family: `cnn`, `transformer`, `mlp` or `hybrid`.
    """

    group: str = "unknown"
    family: str = "unknown"


def read_architectures(artefacts: Artefacts) -> dict[str, Architecture]:
    """{arch: Arch} of the paper's architectures; any other is `Arch()`."""
    rows = read_csv(artefacts.find(ARCHS), ["arch", "arch_group", "arch_family"])
    return {row["arch"]: Architecture(row["arch_group"], row["arch_family"]) for row in rows}
