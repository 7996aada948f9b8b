"""`tfidf`: word and character n-grams with logistic regression, fitted by scikit-learn and kept as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from loratory.errors import make_missing_extra
from loratory.predictors.linear import Linear, Vocabulary
from loratory.protocols import Backbone, FitContext, Labelled, RegimeOptions, Start, StartKind, Task, TrainSet
from loratory.regimes.compatibility import check_support

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sklearn.linear_model import LogisticRegression

SMALL_CORPUS = 500  # below this many texts every n-gram counts, above it one that two texts share


class Tfidf(RegimeOptions):
    """Word and character n-grams with logistic regression: the baseline to beat."""

    tunable: ClassVar[str | None] = "c"

    c: float = Field(
        10.0,
        gt=0,
        description="Inverse strength of the L2 penalty. Lower it against overfitting; training: trials tunes it.",
    )
    words: int = Field(2, ge=1, le=4, description="Length of the longest word n-gram.")
    characters: int = Field(
        5,
        ge=2,
        le=8,
        description="Length of the longest character n-gram inside words; the shortest has two characters.",
    )
    class_weights: bool = Field(
        False, description="Weight each label by the inverse of its share. Use it for rare labels."
    )

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return check_support("tfidf", task, start, self.starts)

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "linear"

    def check_backbone(self, task: Task, backbone: Backbone | None, context: FitContext) -> None:
        try:
            import sklearn.linear_model  # noqa: F401
        except ImportError:
            raise make_missing_extra("scikit-learn", "train") from None

    def check_examples(self, task: Task, train_set: TrainSet, backbone: Backbone | None, context: FitContext) -> None:
        """Nothing: any text will do."""

    def fit(self, task: Labelled, train_set: TrainSet, start: Start, context: FitContext) -> Linear:
        texts = [task.text(e.input) for e in train_set.train]
        places = {label: place for place, label in enumerate(task.labels or ())}
        y = np.array([places[task.label_of(e.answer)] for e in train_set.train])
        return fit_linear(self, task, texts, y)


def fit_linear(options: Tfidf, task: Labelled, texts: list[str], y: NDArray[np.int64]) -> Linear:
    """Features, regression, and both as arrays. y int[N]; labels that y lacks get no probability to speak of."""
    try:
        from scipy.sparse import hstack
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise make_missing_extra("scikit-learn", "train") from None
    labels = len(task.labels or ())
    vectorizers, blocks = [], []
    for vectorizer in _build_vectorizers(options, len(texts)):
        try:
            blocks.append(vectorizer.fit_transform(texts))
            vectorizers.append(vectorizer)
        except ValueError as problem:  # no text has a word, or a character: this block says nothing
            if "vocabulary" not in str(problem) and "terms remain" not in str(problem):
                raise
    if not blocks or len(set(y.tolist())) == 1:
        bias = _compute_prior_bias(y, labels)
        return Linear(task, (), np.zeros((0, labels), np.float32), bias)
    share = np.float32(1 / np.sqrt(len(blocks)))  # each text's whole row has unit length
    features = hstack([block * share for block in blocks]).tocsr()
    weight = "balanced" if options.class_weights else None
    fitted = LogisticRegression(C=options.c, max_iter=300, tol=1e-3, class_weight=weight).fit(features, y)
    weights, bias = _expand_to_all_labels(fitted, labels)
    vocabularies = tuple(
        Vocabulary(
            v.analyzer,
            v.ngram_range[0],
            v.ngram_range[1],
            {gram: int(i) for gram, i in v.vocabulary_.items()},
            v.idf_.astype(np.float32),
        )
        for v in vectorizers
    )
    return Linear(task, vocabularies, np.ascontiguousarray(weights * share, dtype=np.float32), bias.astype(np.float32))


def _build_vectorizers(options: Tfidf, texts: int) -> list[Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    common = {"sublinear_tf": True, "dtype": np.float32}
    return [
        TfidfVectorizer(ngram_range=(1, options.words), token_pattern=r"(?u)\b\w+\b", **common),
        TfidfVectorizer(
            analyzer="char_wb", ngram_range=(2, options.characters), min_df=1 if texts < SMALL_CORPUS else 2, **common
        ),
    ]


def _compute_prior_bias(y: NDArray[np.int64], labels: int) -> NDArray[np.float32]:
    """The bias of a model that sees nothing: the labels' shares, as log-odds."""
    counts = np.bincount(y, minlength=labels)
    return np.where(counts > 0, np.log(np.maximum(counts, 1) / len(y)), -30.0).astype(np.float32)


def _expand_to_all_labels(fitted: LogisticRegression, labels: int) -> tuple[Any, Any]:
    """Weights [V, labels] and bias [labels] from a fit that may know fewer labels, or (two of them) one column."""
    coefficients, intercept = fitted.coef_, fitted.intercept_
    if len(fitted.classes_) == 2 and len(coefficients) == 1:  # the sigmoid of z is the softmax of (-z/2, z/2)
        coefficients = np.concatenate([-coefficients / 2, coefficients / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    weights, bias = np.zeros((coefficients.shape[1], labels)), np.full(labels, -30.0)
    weights[:, fitted.classes_] = coefficients.T
    bias[fitted.classes_] = intercept
    return weights, bias
