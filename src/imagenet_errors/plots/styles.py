"""The styles of pictures: how large a picture and its parts are."""

from dataclasses import dataclass, replace
from typing import Any

FONTS: Any = {
    "pdf.fonttype": 42,
    "svg.hashsalt": "imagenet_errors",  # the same ids in every run
}


@dataclass(frozen=True)
class Style:
    """Lengths of a picture in inches, font sizes in points.

    The axes have the same size in every picture of a style, whatever stands around them.

    Attributes:
        width, height: Of a picture.
        left, bottom, right, top: Its margins around the axes.
        font: Size of ticks and axis labels.
        heading, label, note: Sizes of the heading, of names in the axes, and of the numbers beside lines.
        marks: Area of marks, relative to that of the paper's style.
        dpi: Dots to the inch of PNG.
        has_legend: Whether the legend is in the picture, not in a file of its own.
    """

    width: float
    height: float
    left: float
    bottom: float
    right: float
    top: float
    font: float
    heading: float
    label: float
    note: float
    marks: float
    dpi: int
    has_legend: bool

    @property
    def axes_size(self) -> tuple[float, float]:
        """Width and height of the axes."""
        return self.width - self.left - self.right, self.height - self.bottom - self.top

    def axes_box(self, more: float = 0) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of the axes, as shares of a picture that is `more` inches higher."""
        width, height = self.axes_size
        whole = self.height + more
        return self.left / self.width, (self.bottom + more) / whole, width / self.width, height / whole

    def rc_params(self) -> Any:
        """The settings of matplotlib."""
        return {
            "font.family": "DejaVu Sans",
            "font.size": self.font,
            "legend.fontsize": self.note,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.6 * self.marks**0.5,
        } | FONTS


STYLES = {
    "paper": Style(  # one column of a paper, in the format of the published figures
        width=3.5,
        height=2.95,
        left=0.42,
        bottom=0.41,
        right=0.13,
        top=0.38,
        font=8,
        heading=8,
        label=8,
        note=6.5,
        marks=1,
        dpi=240,
        has_legend=False,
    ),
    "slide": Style(  # 16:9
        width=10,
        height=5.625,
        left=0.85,
        bottom=0.8,
        right=3.4,
        top=0.85,
        font=16,
        heading=17,
        label=16,
        note=11.5,
        marks=4,
        dpi=160,
        has_legend=True,
    ),
}
STYLES["notebook"] = replace(STYLES["paper"], dpi=144)  # several beside each other on a screen
