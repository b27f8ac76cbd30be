"""The datasets that models are run on, one row each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """A dataset that models are run on.

    Attributes:
        name: Its name, and that of its folder in the artefacts folder.
        num_images: Number of images of the whole dataset.
        variable: Environment variable with its folder of images; None if the images come with the repository.
        subfolder: The subfolder of that folder with the class folders.
    """

    name: str
    num_images: int
    variable: str | None = None
    subfolder: str = ""

    def extent(self, num_images: int) -> str:
        """The coverage of `num_images` images, e.g. `383 of 50,000 images`."""
        return f"{num_images:,} of {max(num_images, self.num_images):,} images"


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("imagenet", 50_000, "IMAGENET_DIR", "val"),
        Dataset("imagenet-a", 7_500, "IMAGENET_A_DIR"),
        Dataset("sample", 7),
    )
}
