"""The datasets that models are run on, one row each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """A dataset that models are run on.

    Attributes:
        name: Its folder below the artefacts folder.
        num_images: Images of the whole dataset.
        variable: Environment variable that names its folder of images, or None where we write the images ourselves.
        subfolder: Where below that folder the class folders lie.
    """

    name: str
    num_images: int
    variable: str | None = None
    subfolder: str = ""

    def extent(self, num_images: int) -> str:
        """How much of the dataset `num_images` images are, e.g. `383 of 50,000 images`."""
        return f"{num_images:,} of {max(num_images, self.num_images):,} images"


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("imagenet", 50_000, "IMAGENET_DIR", "val"),
        Dataset("imagenet-a", 7_500, "IMAGENET_A_DIR"),
        Dataset("sample", 7),
    )
}
