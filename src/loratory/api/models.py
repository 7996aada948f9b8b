"""A trained model that answers: a contender of a run, a fit, an export, or an imported folder."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

from loratory.api.named_columns import NamedColumns
from loratory.data.task_inputs import InputFormat
from loratory.display.progress import is_notebook
from loratory.errors import UnsupportedTask
from loratory.experiment.artifact_lookup import find_fit_folder, name_artifact, read_predictor
from loratory.protocols import (
    JSON,
    Answer,
    Input,
    Labelled,
    Prediction,
    Predictor,
    Spanned,
    Task,
    list_labels,
    require_labelled,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from loratory.api.evaluations import Evaluation, StressResult
    from loratory.api.exports import Export

OneInput = str | Mapping[str, JSON]  # a text, or the fields that the task asks for


class BlockingCallWarning(UserWarning):
    """A call blocks an event loop: nothing else of that loop runs until it returns."""


def load(source: str | Path, contender: str | None = None) -> Model:
    """Load a model that answers.

    Args:
        source: the folder of a run, a fit, an export or an imported model.
        contender: which contender of a run answers; the recommended one when left out.

    The folder is checked now. The weights are verified and loaded with the first answer.

    Raises:
        ArtifactError: the folder holds no model, the run has no such contender, or a file was changed.
    """
    path = Path(source).expanduser()
    folder = find_fit_folder(path, contender)
    return Model(folder, name_artifact(folder), path)


class Model:
    """A model that answers.

    One input is a text, or a mapping of the fields that the task asks for. Several inputs are a list, an array or a
    column. Threads may share a model; their calls are answered one after the other.

    Attributes:
        folder: the artifact that answers.
        contender: its name.
        source: the folder that it was loaded from.
    """

    def __init__(self, folder: Path, contender: str, source: Path) -> None:
        self.folder, self.contender, self.source = folder, contender, source
        self._lock = threading.RLock()

    @cached_property
    def predictor(self) -> Predictor:
        """The predictor itself (`loratory.protocols.Predictor`). The first use loads the weights."""
        from loratory.backbones.pool import TorchBackbonePool

        return read_predictor(self.folder, TorchBackbonePool())

    @property
    def task(self) -> Task:
        """The task: what an input is, and what an answer is."""
        return self._load().task

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the columns of `predict_proba`; of a tag task the labels of spans."""
        return list_labels(self.task)

    @overload
    def predict(self, inputs: OneInput) -> Answer: ...
    @overload
    def predict(self, inputs: Iterable[OneInput]) -> list[Answer]: ...
    def predict(self, inputs: OneInput | Iterable[OneInput]) -> Answer | list[Answer]:
        """The answer to one input, or the list of answers to several.

        An answer is a label (classify), a list of spans with start, end, label and text (tag), or text or JSON
        (generate). It is None where the model abstains or cannot answer; `predict_full` says why.

        Raises:
            DataError: a value is no input of this task.

        Warns:
            BlockingCallWarning: in a coroutine, where `await model.apredict(...)` does not block the event loop.
        """
        _warn_in_event_loop("predict")
        return self._answer(inputs, self._simplify)

    @overload
    def predict_full(self, inputs: OneInput) -> Prediction: ...  # type: ignore[overload-overlap]  # a text is iterable
    @overload
    def predict_full(self, inputs: Iterable[OneInput]) -> list[Prediction]: ...
    def predict_full(self, inputs: OneInput | Iterable[OneInput]) -> Prediction | list[Prediction]:
        """As `predict`, with all that is known: answer, confidence, probabilities and reason.

        The answer is as the task's contract has it: `{"label": ...}` for a classify task.
        """
        _warn_in_event_loop("predict_full")
        made: Prediction | list[Prediction] = self._answer(inputs, _keep)
        return made

    async def apredict(self, inputs: OneInput | Iterable[OneInput]) -> Answer | list[Answer]:
        """As `predict`, in a thread of the model's own: the event loop goes on meanwhile."""
        return await self._run_in_thread(partial(self._answer, inputs, self._simplify))

    async def apredict_full(self, inputs: OneInput | Iterable[OneInput]) -> Prediction | list[Prediction]:
        """As `predict_full`, in a thread of the model's own: the event loop goes on meanwhile."""
        made: Prediction | list[Prediction] = await self._run_in_thread(partial(self._answer, inputs, _keep))
        return made

    def predict_proba(self, inputs: OneInput | Iterable[OneInput]) -> NDArray[np.float64]:
        """The probability of every label: float64[N, L], or float64[L] for one input. Columns are `labels`.

        A row is NaN where there is no answer, as for a text that is too long.

        Raises:
            UnsupportedTask: the task has no labels, or the model gives no probabilities.
            DataError: a value is no input of this task.
        """
        import numpy as np

        _warn_in_event_loop("predict_proba")
        labels = require_labelled(self.task).labels or ()

        def to_row(_: Input, prediction: Prediction) -> list[float]:
            odds = next(iter(prediction.probabilities.values()), None)
            if odds is None and prediction.answer is not None:
                raise UnsupportedTask("this model gives no probabilities", where=self.contender)
            return [float("nan")] * len(labels) if odds is None else [float(odds[label]) for label in labels]

        rows = np.asarray(self._answer(inputs, to_row), dtype=np.float64)
        return rows if rows.size else rows.reshape(0, len(labels))

    def stream(self, input: OneInput, on_token: Callable[[str], None]) -> Prediction:
        """Answer one input in writing; `on_token` receives each piece of text as it is written.

        Raises:
            UnsupportedTask: this model does not write its answers, or there is no answer.
        """
        from loratory.experiment.inference.local_prediction import stream_answer

        with self._lock:
            return stream_answer(self._load(), self._parse(input, "the input"), on_token)

    @overload
    def redact(self, texts: str, *, how: str = "type", labels: Sequence[str] = ()) -> str: ...  # type: ignore[overload-overlap]
    @overload
    def redact(self, texts: Iterable[str], *, how: str = "type", labels: Sequence[str] = ()) -> list[str]: ...
    def redact(self, texts: str | Iterable[str], *, how: str = "type", labels: Sequence[str] = ()) -> str | list[str]:
        """The text, or each of the texts, without the spans that the model finds.

        Args:
            texts: a text, or several.
            how: type ([LABEL]), mask (as many blocks), hash ([LABEL:code]) or fake (made-up values). The last two give
                the same value for the same words under one key, which the environment's LORATORY_REDACT_KEY holds.
            labels: only spans of these labels; all when left out.

        Raises:
            UnsupportedTask: the model finds no spans, or a text cannot be read whole.
            DataError: an unknown way or label.
        """
        from loratory.experiment.inference.text_redaction import make_replacement, redact_inputs

        replacement, note = make_replacement(how)
        if note:
            warnings.warn(note, UserWarning, stacklevel=2)
        one = isinstance(texts, str)
        given = [texts] if isinstance(texts, str) else list(texts)
        with self._lock:
            inputs = [self._parse(text, f"text {number}") for number, text in enumerate(given)]
            made = [done.text for done in redact_inputs(self._load(), inputs, replacement, labels)]
        return made[0] if one else made

    def evaluate(
        self,
        data: object,
        *,
        text: str | None = None,
        label: str | None = None,
        columns: Mapping[str, str] | None = None,
    ) -> Evaluation:
        """Score the model on labelled examples: a file, a folder, a hub id, or a table. See `loratory.evaluate`."""
        from loratory.api.evaluations import evaluate_predictor

        with self._lock:
            return evaluate_predictor(self.predictor, self.folder, data, NamedColumns(text, label, columns))

    def stress(
        self,
        data: object = None,
        *,
        columns: Mapping[str, str] | None = None,
        progress: bool | None = None,
        **options: Any,
    ) -> StressResult:
        """Change texts harmlessly, and count the answers that change with them. See `loratory.stress`."""
        from loratory.api.evaluations import stress_folder

        named = NamedColumns(others=columns)
        return stress_folder(self.source, self.contender, data, named, progress, options)

    def export(
        self,
        output: str | Path | None = None,
        *,
        to: str | Sequence[str] = "peft",
        options: Mapping[str, Any] | None = None,
        margin: float | None = None,
    ) -> Export:
        """Write the model in forms that other programs open, each with its certificate. See `loratory.export`."""
        from loratory.api.exports import export

        return export(self.folder, output, to=to, options=options, margin=margin)

    def __repr__(self) -> str:
        return f"<Model {self.contender!r} of {self.source}>"

    def _load(self) -> Predictor:
        with self._lock:
            return self.predictor

    def _answer(self, inputs: OneInput | Iterable[OneInput], convert: Callable[[Input, Prediction], Any]) -> Any:
        """One converted answer, or a list of them."""
        from loratory.experiment.inference.local_prediction import predict_batches

        one = isinstance(inputs, (str, Mapping))
        given = [inputs] if one else list(cast(Iterable[Any], inputs))
        with self._lock:
            parsed = [self._parse(value, "the input" if one else f"input {place}") for place, value in enumerate(given)]
            made = [convert(asked, prediction) for asked, prediction in predict_batches(self._load(), parsed)]
        return made[0] if one else made

    def _parse(self, value: Any, where: str) -> Input:
        """An input of the task; numpy's texts are texts. Raises DataError."""
        plain = value.item() if hasattr(value, "item") and not isinstance(value, Mapping) else value
        return InputFormat.from_task(self.task).parse_input(plain, where)

    def _simplify(self, input: Input, prediction: Prediction) -> Answer:
        """The answer without its wrapping: a label, or spans with their texts."""
        task, answer = self.task, prediction.answer
        if answer is None:
            return None
        if isinstance(task, Labelled):
            return task.label_of(answer)
        if isinstance(task, Spanned):
            text = task.text(input)
            found = sorted(task.spans_of(answer))
            return [{"start": s, "end": e, "label": label, "text": text[s:e]} for s, e, label in found]
        return answer

    async def _run_in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    @cached_property
    def _executor(self) -> ThreadPoolExecutor:
        """One thread: calls wait for each other anyway, and the loop's own threads stay free."""
        return ThreadPoolExecutor(1, thread_name_prefix="loratory-model")


def evaluate(
    source: str | Path | Model,
    data: object,
    *,
    contender: str | None = None,
    text: str | None = None,
    label: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Evaluation:
    """Score a model on labelled examples.

    Args:
        source: a run's folder, a fit, an export, an imported folder, or a Model.
        data: a data file, a folder, a hub id, or a table (pandas, polars, pyarrow, datasets, a list of dicts).
        contender: which contender of a run; the recommended one when left out.
        text: the column of the text; found by its name when left out.
        label: the column of the label, the spans or the answer; found by its name when left out.
        columns: further columns by the task's own names, such as {"group": "customer"}.

    The ledger of test reads notes the evaluation, as it does on the command line.

    Raises:
        DataError: a row is no example of the task, such as one with an unknown label.
        ArtifactError: the folder holds no model.
    """
    return _open(source, contender).evaluate(data, text=text, label=label, columns=columns)


def stress(
    source: str | Path | Model,
    *,
    contender: str | None = None,
    data: object = None,
    columns: Mapping[str, str] | None = None,
    progress: bool | None = None,
    **options: Any,
) -> StressResult:
    """Change texts harmlessly (typos, case, look-alikes ...) and count the answers that change with them.

    Args:
        source: a run's folder, a fit, an imported folder, or a Model.
        contender: which contender of a run; the recommended one when left out.
        data: labelled examples; of a run its own test rows when left out.
        columns: the columns of `data` by the task's own names.
        progress: show progress; None: in a notebook and on a terminal.
        **options: keys of the spec's `stress:` section, such as texts=100 or of=["typos"].

    Raises:
        SpecError: an unknown option.
        UnsupportedTask: the answers of this task cannot be compared.
    """
    return _open(source, contender).stress(data, columns=columns, progress=progress, **options)


def _open(source: str | Path | Model, contender: str | None) -> Model:
    return source if isinstance(source, Model) else load(source, contender)


def _keep(_: Input, prediction: Prediction) -> Prediction:
    return prediction


def _warn_in_event_loop(method: str) -> None:
    """Tell a coroutine that it blocks its event loop. A notebook's cells run in one and are meant to wait."""
    if "asyncio" not in sys.modules or is_notebook():
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    warnings.warn(
        f"model.{method} blocks this event loop until the answer is there; await model.a{method} instead"
        if method != "predict_proba"
        else "model.predict_proba blocks this event loop until the answer is there; call it in asyncio.to_thread",
        BlockingCallWarning,
        stacklevel=3,
    )
