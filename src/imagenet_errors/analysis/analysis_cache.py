"""The error analyses of a dataset's models, each read at most once per run."""

from dataclasses import dataclass, field

from imagenet_errors.errors import InputError
from imagenet_errors.formats import error_analyses
from imagenet_errors.formats.error_analyses import ErrorAnalysis
from imagenet_errors.paths import Artefacts


@dataclass(frozen=True)
class AnalysisCache:
    """Error analyses by model.

    Attributes:
        artefacts: Where they lie.
        dataset: A name of dataset_table.DATASETS.
        with_proposals: Whether the proposals of out-of-vocabulary errors are read too.
    """

    artefacts: Artefacts
    dataset: str
    with_proposals: bool = False
    _found: dict[str, ErrorAnalysis | InputError] = field(default_factory=dict)

    def read(self, model: str) -> ErrorAnalysis:
        """A model's analysis. Raises what `error_analyses.read` raises, at every call for the same model."""
        if model not in self._found:
            try:
                path = self.artefacts.analysis(self.dataset, model)
                self._found[model] = error_analyses.read(path, model, self.with_proposals)
            except InputError as error:
                self._found[model] = error
        found = self._found[model]
        if isinstance(found, InputError):
            raise found
        return found

    def put(self, analysis: ErrorAnalysis) -> None:
        """Remember what was just written."""
        self._found[analysis.model] = analysis

    def forget(self, model: str) -> None:
        """Read the file again when it is asked for: another process has written it."""
        self._found.pop(model, None)
