"""A classifier of texts by scikit-learn's conventions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from loratory.api.models import Model
from loratory.errors import DataError, SpecError, make_missing_extra

try:
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted
except ImportError as problem:
    raise make_missing_extra("scikit-learn", "train") from problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAME = "classifier"
ARTIFACT_FILES = "artifact_files"  # in a pickle: the artifact's files, by their paths in its folder


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Fits one regime to texts and labels, and answers as any classifier of scikit-learn does.

        from sklearn.model_selection import cross_val_score

        cross_val_score(loratory.Classifier(regime="lora"), texts, labels, cv=5)

    It works in Pipeline, GridSearchCV and clone. Options are set by name: `set_params(options={"rank": 8})`.

    Args:
        regime: how it learns: majority, rules, tfidf, zero-shot, prototype, head, lora, full ... (docs/spec.md).
        base: the pretrained base, where the regime has one: an embedded one, a folder or a hub id.
        options: the regime's options, such as {"rank": 8}.
        training: keys of the spec's `training:` section, such as {"epochs": 3, "seeds": 3}.
        validation: the share of the examples that is kept for early stopping and other choices.
        random_state: the seed of the split and of the fits.
        output: the folder that keeps the fitted artifact; a temporary one when left out. A fit that is there and was
            made from the same examples and options is used again.
        progress: show progress; None: in a notebook and on a terminal.

    Attributes:
        classes_: the labels in their order, as given in y: [L].
        model_: the fitted `Model`.
    """

    def __init__(
        self,
        regime: str = "lora",
        *,
        base: str = "minilm",
        options: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        validation: float = 0.1,
        random_state: int = 6,
        output: str | Path | None = None,
        progress: bool | None = False,
    ) -> None:
        self.regime = regime
        self.base = base
        self.options = options
        self.training = training
        self.validation = validation
        self.random_state = random_state
        self.output = output
        self.progress = progress

    def fit(self, X: Any, y: Any) -> Self:  # scikit-learn's names
        """Fit to texts X: [N] and labels y: [N]. Raises DataError for what are no texts, and LoratoryError."""
        from loratory.display.progress import show_progress
        from loratory.experiment.fit_examples import fit_examples

        texts, targets = _list_texts(X), np.asarray(y)
        check_classification_targets(targets)
        if targets.ndim != 1 or len(targets) != len(texts):
            raise DataError(
                f"{len(texts)} texts and labels of shape {targets.shape}", where="y", allowed="one label for each text"
            )
        classes, places = np.unique(targets, return_inverse=True)
        spec = self._make_spec(classes)
        dataset = _make_dataset(spec.task, texts, places)
        home = self._make_home()
        with show_progress(self.progress) as on_event:
            folder = fit_examples(spec, dataset, home, on_event)
        self.classes_ = classes
        self.model_ = Model(folder, self.regime, folder)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The label of each text: [N], of y's own type. Raises NotFittedError and DataError."""
        check_is_fitted(self, "model_")
        known = {label: place for place, label in enumerate(self.model_.labels)}
        answers = self.model_.predict(_list_texts(X))
        if None in answers:
            place = answers.index(None)
            raise DataError(
                "there is no answer to this text", where=f"X[{place}]", remedy="a shorter text, if it is long"
            )
        return np.asarray(self.classes_[[known[answer] for answer in answers]])

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """The probability of each label: float64[N, L], columns in the order of `classes_`."""
        check_is_fitted(self, "model_")
        return self.model_.predict_proba(_list_texts(X))

    def _make_home(self) -> Path:
        """The folder of the fit; a temporary one goes away with this classifier."""
        if self.output is not None:
            return Path(self.output).expanduser()
        self._folder = tempfile.TemporaryDirectory(prefix="loratory-classifier-")
        return Path(self._folder.name)

    def _make_spec(self, classes: NDArray[Any]) -> Any:
        """The spec of one contender; raises SpecError for an option that is not allowed."""
        from loratory.api.runs import read_spec
        from loratory.discovery import load_named
        from loratory.specs.spec import takes_base

        labels = [str(label) for label in classes]
        if len(set(labels)) < len(labels):
            raise DataError("two labels are the same as text", where="y", remedy="give each label another name")
        if len(labels) < 2:
            raise DataError(f"y holds one label: {labels}", where="y", allowed="at least two different labels")
        options = dict(self.options or {})
        if takes_base(load_named("regimes", self.regime).starts):
            options.setdefault("base", self.base)
        if not 0 < self.validation < 0.9:
            raise SpecError(f"{self.validation} is no share", where="validation", allowed="above 0 and below 0.9")
        training = {"seed": int(self.random_state), **(self.training or {})}
        return read_spec(
            {
                "name": NAME,
                "task": {"kind": "classify", "labels": labels},
                "data": {
                    "path": "X",
                    "split": {"test": 0.001, "validation": float(self.validation), "seed": int(self.random_state)},
                },
                "ladder": [{NAME if self.regime != "majority" else "majority": {"regime": self.regime, **options}}],
                "training": training,
            }
        )

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """A fitted classifier pickles with the files of its artifact, which are verified again when they are read."""
        state = dict(super().__getstate__())
        state.pop("_folder", None)
        if (model := state.pop("model_", None)) is not None:
            files = (file for file in sorted(model.folder.rglob("*")) if file.is_file())
            state[ARTIFACT_FILES] = {file.relative_to(model.folder).as_posix(): file.read_bytes() for file in files}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = state.pop(ARTIFACT_FILES, None)
        super().__setstate__(state)
        if files is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="loratory-classifier-")
            home = Path(self._folder.name) / "fit"
            for name, content in files.items():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_bytes(content)
            self.model_ = Model(home, self.regime, home)


def _list_texts(X: Any) -> list[str]:
    """Texts from a list, an array, a Series, or a table of one column. Raises DataError."""
    if isinstance(X, (str, bytes)):
        raise DataError("X is one text", where="X", allowed="a list of texts")
    values = np.asarray(X, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(
            f"X has the shape {values.shape}", where="X", allowed="a list of texts, or a table of one column of texts"
        )
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise DataError(f"{value!r} is no text", where=f"X[{place}]", allowed="a string")
    return [str(value) for value in values]


def _make_dataset(task: Any, texts: Sequence[str], places: NDArray[Any]) -> Any:
    from loratory.data.dataset import Dataset
    from loratory.protocols import Example

    rows = zip(texts, places.reshape(-1), strict=True)
    return Dataset.of(
        task,
        [
            Example({"text": text}, {"label": task.labels[place]}, origin=f"X[{number}]")
            for number, (text, place) in enumerate(rows)
        ],
    )
