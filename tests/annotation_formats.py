"""The forms in which annotation tools and taggers write labelled texts, each made from one list of samples.

`FORMS` is the table: the tests hold every form to the same examples, and the page on data is made from it.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Span = tuple[int, int, str]
File = tuple[str, str]  # name, content
LABELS = ("PER", "ORG", "LOC")
CHOICES = ("refund", "delivery", "other")
ANSWERS = {"tag": "spans", "classify": "choice", "generate": "answer"}  # names of controls and questions
WORDS = (
    "Ada",
    "wrote",
    "to",
    "the",
    "bank",
    "é",
    "in",
    "Oslo",
    "about",
    "a",
    "late",
    "bill",
    "of",
    "May",
    "3,000",
    "C#",
)


@dataclass(frozen=True)
class Sample:
    """A text with a value for each task."""

    text: str
    spans: tuple[Span, ...]
    choice: str
    answer: str

    def value(self, task: str) -> Any:
        """What the task's answer is made from."""
        return {"tag": self.spans, "classify": self.choice, "generate": self.answer}[task]


class Form(NamedTuple):
    """A tool's way to write samples for a task."""

    tool: str
    task: str
    form: str
    make: Callable[[Sequence[Sample]], File]


def make_samples(seed: int, count: int = 24) -> list[Sample]:
    """Random texts with spans of whole words; neighbours of one label never touch, which IO could not say."""
    draw, made = random.Random(seed), list[Sample]()
    for number in range(count):
        words = [*draw.choices(WORDS, k=draw.randint(3, 12)), f"No{number}."]
        spans, at = list[Span](), 0
        starts = [sum(len(word) + 1 for word in words[:place]) for place in range(len(words))]
        while number % 6 and at < len(words):
            size = draw.randint(1, 3)
            if draw.random() < 0.4 and at + size <= len(words):
                end = starts[at + size - 1] + len(words[at + size - 1])
                others = [label for label in LABELS if not spans or label != spans[-1][2]]
                spans.append((starts[at], end, draw.choice(others)))
                at += size
            at += draw.randint(0, 2)
        choice = CHOICES[number % len(CHOICES)]
        made.append(Sample(" ".join(words), tuple(spans), choice, f"It is about {words[0]} and {words[1]} ({number})."))
    return made


def json_file(rows: Sequence[Any]) -> File:
    return "data.json", json.dumps(rows, indent=1, ensure_ascii=False)


def lines_file(rows: Sequence[Any]) -> File:
    return "data.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table_file(rows: Sequence[Mapping[str, Any]], delimiter: str = ",") -> File:
    names = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, delimiter=delimiter, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return ("data.tsv" if delimiter == "\t" else "data.csv"), out.getvalue()


def spans_to_dicts(spans: Sequence[Span]) -> list[dict[str, Any]]:
    return [{"start": start, "end": end, "label": label} for start, end, label in spans]


def expected_answer(sample: Sample, task: str) -> Any:
    """The answer that every form of a sample is read as."""
    if task == "tag":
        return {
            "spans": [
                {**span, "text": sample.text[span["start"] : span["end"]]} for span in spans_to_dicts(sample.spans)
            ]
        }
    return {"label": sample.choice} if task == "classify" else sample.answer


# ---- Label Studio
def _make_region(sample: Sample, span: Span, kind: str) -> dict[str, Any]:
    start, end, label = span
    return {"start": start, "end": end, "text": sample.text[start:end], kind: [label]}


def _make_results(sample: Sample, task: str, kind: str) -> list[dict[str, Any]]:
    if task == "tag":
        values = [_make_region(sample, span, kind) for span in sample.spans]
    elif kind == "taxonomy":
        values = [{"taxonomy": [[sample.choice]]}]
    else:
        values = [{kind: [sample.value(task)]}]
    kinds = {"text": "textarea"}
    name = ANSWERS[task]
    return [
        {"id": f"r{n}", "from_name": name, "to_name": "text", "type": kinds.get(kind, kind), "value": value}
        for n, value in enumerate(values)
    ]


def _make_task(sample: Sample, number: int, results: Sequence[list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    annotations = [
        {"id": 10 * number + n, "completed_by": n + 1, "result": result, "was_cancelled": False, "ground_truth": False}
        for n, result in enumerate(results)
    ]
    wrong = [
        {"model_version": "m", "result": [{"from_name": "spans", "value": {"choices": ["wrong"]}, "type": "choices"}]}
    ]
    task = {
        "id": number + 1,
        "annotations": annotations,
        "predictions": wrong,
        "data": {"text": sample.text},
        "meta": {},
    }
    return {**task, "file_upload": f"{number % 2}.json", "project": 1, **more}


def label_studio(task: str, kind: str) -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        return json_file([_make_task(one, n, [_make_results(one, task, kind)]) for n, one in enumerate(given)])

    return make


def label_studio_several(task: str, kind: str) -> Callable[[Sequence[Sample]], File]:
    """Three annotators, of whom one is wrong, or a ground truth against two."""

    def make(given: Sequence[Sample]) -> File:
        rows = []
        for n, one in enumerate(given):
            right = _make_results(one, task, kind)
            wrong = _make_results(Sample(one.text, ((0, 1, "WRONG"),), "wrong", "wrong"), task, kind)
            order = [[right, wrong, right], [wrong, right, wrong], [right], [wrong, right]][n % 4]
            row = _make_task(one, n, order)
            if n % 4 == 1:
                row["annotations"][1]["ground_truth"] = True
            if n % 4 == 3:
                row["annotations"][0]["was_cancelled"] = True
            rows.append(row)
        return json_file(rows)

    return make


def label_studio_legacy(given: Sequence[Sample]) -> File:
    rows = []
    for n, one in enumerate(given):
        row = _make_task(one, n, [_make_results(one, "tag", "labels")])
        rows.append({**{k: v for k, v in row.items() if k != "annotations"}, "completions": row["annotations"]})
    return json_file(rows)


def label_studio_html(given: Sequence[Sample]) -> File:
    rows = []
    for n, one in enumerate(given):
        results = _make_results(one, "tag", "hypertextlabels")
        for result in results:
            value = result["value"]
            value["globalOffsets"] = {"start": value.pop("start"), "end": value.pop("end")}
            value |= {"start": "/text()[1]", "end": "/text()[1]", "startOffset": 0, "endOffset": 1}
        rows.append(_make_task(one, n, [results]))
    return json_file(rows)


def label_studio_dialogue(given: Sequence[Sample]) -> File:
    """A dialogue of one turn: its text is the text."""
    rows = []
    for n, one in enumerate(given):
        results = _make_results(one, "tag", "paragraphlabels")
        for result in results:
            value = result["value"]
            value |= {"startOffset": value["start"], "endOffset": value["end"], "start": "0", "end": "0"}
        rows.append(_make_task(one, n, [results], data={"text": [{"author": "A", "text": one.text}]}))
    return json_file(rows)


def _minimal_rows(given: Sequence[Sample], task: str, answer: Callable[[Sample], Any]) -> list[dict[str, Any]]:
    rows = []
    for n, one in enumerate(given):
        row = {"text": one.text, "id": n + 1, ANSWERS[task]: answer(one)}
        if row[ANSWERS[task]] in ([], "[]"):
            del row[ANSWERS[task]]  # a task without a result has no key
        own = {"annotator": 1, "annotation_id": n + 1, "created_at": "2026-01-01T00:00:00Z", "lead_time": 3.5}
        rows.append({**row, **own})
    return rows


def list_regions(sample: Sample) -> list[dict[str, Any]]:
    return [_make_region(sample, span, "labels") for span in sample.spans]


# ---- Argilla
def _make_responses(value: Any) -> list[dict[str, Any]]:
    return [{"value": value, "user_id": "u1"}, {"value": value, "user_id": "u2"}]


def _argilla_value(sample: Sample, task: str) -> Any:
    return spans_to_dicts(sample.spans) if task == "tag" else sample.value(task)


def argilla_records(task: str, several: bool = False) -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        name = ANSWERS[task]
        return json_file(
            [
                {
                    "id": str(n),
                    "status": "completed",
                    "fields": {"text": one.text},
                    "metadata": {},
                    "suggestions": {name: {"value": "wrong", "score": 0.9, "agent": "m"}},
                    "responses": {name: _make_responses([one.choice] if several else _argilla_value(one, task))},
                    "vectors": {},
                    "_server_id": f"s{n}",
                }
                for n, one in enumerate(given)
            ]
        )

    return make


def argilla_flat(task: str) -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        name = ANSWERS[task]
        return lines_file(
            [
                {
                    "id": str(n),
                    "status": "completed",
                    "_server_id": f"s{n}",
                    "text": one.text,
                    f"{name}.responses": ["wrong", _argilla_value(one, task)],
                    f"{name}.responses.users": ["u1", "u2"],
                    f"{name}.responses.status": ["discarded", "submitted"],
                    f"{name}.suggestion": "wrong",
                    f"{name}.suggestion.score": 0.9,
                    f"{name}.suggestion.agent": "m",
                }
                for n, one in enumerate(given)
            ]
        )

    return make


def argilla_feedback(task: str, rotated: bool = False) -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        rows = []
        for n, one in enumerate(given):
            answers: Any = [
                {"user_id": "u1", "value": "wrong", "status": "discarded"},
                {"user_id": "u2", "value": _argilla_value(one, task), "status": "submitted"},
            ]
            if rotated:
                answers = {key: [answer[key] for answer in answers] for key in answers[0]}
            name = ANSWERS[task]
            rows.append(
                {
                    "text": one.text,
                    name: answers,
                    f"{name}-suggestion": "wrong",
                    f"{name}-suggestion-metadata": {"agent": "m", "score": 0.5, "type": None},
                    "external_id": str(n),
                    "metadata": "{}",
                }
            )
        return lines_file(rows)

    return make


def argilla_first(task: str, form: str = "") -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        rows = []
        for n, one in enumerate(given):
            row: dict[str, Any] = {"text": one.text, "prediction": None, "prediction_agent": None, "id": str(n)}
            if task == "classify":
                row |= {"inputs": {"text": one.text}, "multi_label": form == "several", "explanation": None}
            if task == "tag":
                row["tokens"] = one.text.split()
            triples = [[label, start, end] for start, end, label in one.spans]
            value = one.value(task) if task != "tag" else spans_to_dicts(one.spans) if form == "mappings" else triples
            row["annotation"] = [value] if form == "several" else value
            rows.append({**row, "annotation_agent": "a", "metadata": {}, "status": "Validated", "vectors": None})
        return lines_file(rows)

    return make


# ---- doccano
def doccano(task: str, column: str = "label", text: str = "text") -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        rows = []
        for n, one in enumerate(given):
            value = [list(span) for span in one.spans] if task == "tag" else [one.value(task)]
            rows.append({"id": n + 1, text: one.text, column: value, "Comments": []})
        return lines_file(rows)

    return make


def doccano_entities(given: Sequence[Sample]) -> File:
    rows = []
    for n, one in enumerate(given):
        entities = [{"id": i, "label": x, "start_offset": s, "end_offset": e} for i, (s, e, x) in enumerate(one.spans)]
        rows.append({"id": n + 1, "text": one.text, "entities": entities, "relations": [], "Comments": []})
    return lines_file(rows)


def doccano_intents(task: str) -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        return lines_file(
            [
                {"id": n + 1, "text": one.text, "cats": [one.choice], "entities": [list(span) for span in one.spans]}
                for n, one in enumerate(given)
            ]
        )

    return make


def doccano_table(task: str) -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        rows = [
            {"id": n + 1, "text": one.text, "label": one.value(task), "Comments": ""} for n, one in enumerate(given)
        ]
        return table_file(rows)

    return make


# ---- Prodigy
def _add_hashes(row: dict[str, Any], number: int, view: str, answer: str = "accept") -> dict[str, Any]:
    own = {"_input_hash": number, "_task_hash": -number, "_view_id": view, "_timestamp": 1}
    return {**row, **own, "answer": answer}


def prodigy_spans(given: Sequence[Sample]) -> File:
    rows = []
    for n, one in enumerate(given):
        tokens = [{"text": "x", "start": 0, "end": 1, "id": 0}]
        spans = [{**span, "token_start": 0, "token_end": 0} for span in spans_to_dicts(one.spans)]
        row = {"text": one.text, "tokens": tokens, "spans": spans}
        if not spans:
            del row["spans"]
        rows.append(_add_hashes(row, n, "ner_manual"))
        rows.append(
            _add_hashes({**row, "spans": [{"start": 0, "end": 1, "label": "WRONG"}]}, n, "ner_manual", "reject")
        )
    return lines_file(rows)


def prodigy_textcat(given: Sequence[Sample]) -> File:
    rows = []
    for n, one in enumerate(given):
        rows.append(_add_hashes({"text": one.text, "label": one.choice, "spans": []}, n, "classification"))
        rows.append(_add_hashes({"text": one.text, "label": "wrong"}, n, "classification", "ignore"))
    return lines_file(rows)


def prodigy_choice(given: Sequence[Sample]) -> File:
    options = [{"id": choice, "text": choice.title()} for choice in CHOICES]
    return lines_file(
        [
            _add_hashes({"text": one.text, "options": options, "accept": [one.choice], "config": {}}, n, "choice")
            for n, one in enumerate(given)
        ]
    )


# ---- spaCy
def spacy_entities(given: Sequence[Sample]) -> File:
    return lines_file([{"text": one.text, "entities": [list(span) for span in one.spans]} for one in given])


def spacy_cats(given: Sequence[Sample]) -> File:
    return lines_file([{"text": one.text, "cats": {c: float(c == one.choice) for c in CHOICES}} for one in given])


def ner_annotator(given: Sequence[Sample]) -> File:
    pairs = [[one.text, {"entities": [list(span) for span in one.spans]}] for one in given]
    return "data.json", json.dumps({"classes": list(LABELS), "annotations": [*pairs, None]})


# ---- tagged words
def split_into_pieces(sample: Sample) -> list[tuple[str, str, str]]:
    """Word, where it stands in a span (B, I, E, S, or nothing), and the span's label."""
    made, at = [], 0
    for word in sample.text.split(" "):
        end = at + len(word)
        inside = [span for span in sample.spans if span[0] <= at and end <= span[1]]
        if inside:
            begins, ends = inside[0][0] == at, inside[0][1] == end
            made.append((word, "S" if begins and ends else "B" if begins else "E" if ends else "I", inside[0][2]))
        else:
            made.append((word, "", ""))
        at = end + 1
    return made


LETTERS = {
    "BIO": {"B": "B", "I": "I", "E": "I", "S": "B"},
    "IOB1": {"B": "I", "I": "I", "E": "I", "S": "I"},
    "BIOES": {"B": "B", "I": "I", "E": "E", "S": "S"},
    "BILOU": {"B": "B", "I": "I", "E": "L", "S": "U"},
    "BMES": {"B": "B", "I": "M", "E": "E", "S": "S"},
    "BMEWO": {"B": "B", "I": "M", "E": "E", "S": "W"},
}


def tags_of(sample: Sample, scheme: str, separator: str = "-", behind: bool = False) -> list[tuple[str, str]]:
    """Words and their tags."""
    made, before = [], ""
    for word, role, label in split_into_pieces(sample):
        if not role or scheme == "IO":
            tag = label or "O"
        else:
            letter = LETTERS[scheme][role]
            if scheme == "IOB1" and role in "BS" and before == label:
                letter = "B"
            tag = f"{label}{separator}{letter}" if behind else f"{letter}{separator}{label}"
        made.append((word, tag))
        before = label
    return made


def conll(scheme: str, separator: str = "-", behind: bool = False, name: str = "data.conll") -> Any:
    def make(given: Sequence[Sample]) -> File:
        end = "\t" if name.endswith(".tsv") else " "
        texts = ["".join(f"{w}{end}{t}\n" for w, t in tags_of(one, scheme, separator, behind)) for one in given]
        return name, "\n".join(texts)

    return make


def conll_2003(given: Sequence[Sample]) -> File:
    texts = ["".join(f"{w} NN B-NP {t}\n" for w, t in tags_of(one, "IOB1")) for one in given]
    return "data.txt", "-DOCSTART- -X- -X- O\n\n" + "\n".join(texts)


def word_rows(given: Sequence[Sample]) -> File:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["Sentence #", "Word", "POS", "Tag"])
    for number, one in enumerate(given):
        for place, (word, tag) in enumerate(tags_of(one, "BIO")):
            writer.writerow(["" if place else f"Sentence: {number}", word, "NN", tag])
    return "ner.csv", out.getvalue()


def germeval(given: Sequence[Sample]) -> File:
    texts = []
    for number, one in enumerate(given):
        lines = [f"{n}\t{w}\t{t}\t{'B-LOC' if n == 1 else 'O'}\n" for n, (w, t) in enumerate(tags_of(one, "BIO"), 1)]
        texts.append(f"#\thttp://example.org/{number} [2014-01-01]\n" + "".join(lines))
    return "data.tsv", "\n".join(texts)


def label_studio_conll(given: Sequence[Sample]) -> File:
    texts = ["".join(f"{w} -X- _ {t}\n" for w, t in tags_of(one, "BIO")) for one in given]
    return "data.conll", "-DOCSTART- -X- O\n" + "\n".join(texts)


def word_lists(scheme: str, column: str = "ner_tags") -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        both = [tags_of(one, scheme) for one in given]
        return lines_file(
            [{"id": str(n), "tokens": [w for w, _ in b], column: [t for _, t in b]} for n, b in enumerate(both)]
        )

    return make


def table_cells(task: str, answer: Callable[[Sample], Any], delimiter: str = ",") -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        return table_file(_minimal_rows(given, task, answer), delimiter)

    return make


def minimal(task: str, answer: Callable[[Sample], Any]) -> Callable[[Sequence[Sample]], File]:
    def make(given: Sequence[Sample]) -> File:
        return json_file(_minimal_rows(given, task, answer))

    return make


STUDIO, HUB = "Label Studio", "Hugging Face"
FORMS: list[Form] = [
    Form(STUDIO, "tag", "JSON", label_studio("tag", "labels")),
    Form(STUDIO, "tag", "JSON, several annotators", label_studio_several("tag", "labels")),
    Form(STUDIO, "tag", "JSON of versions before 1.0 (completions)", label_studio_legacy),
    Form(STUDIO, "tag", "JSON, HyperText of plain text", label_studio_html),
    Form(STUDIO, "tag", "JSON, Paragraphs (a dialogue)", label_studio_dialogue),
    Form(STUDIO, "tag", "JSON-MIN", minimal("tag", list_regions)),
    Form(STUDIO, "tag", "CSV", table_cells("tag", lambda one: json.dumps(list_regions(one)))),
    Form(STUDIO, "tag", "TSV", table_cells("tag", lambda one: json.dumps(list_regions(one)), "\t")),
    Form(STUDIO, "tag", "CoNLL 2003", label_studio_conll),
    Form(STUDIO, "classify", "JSON (Choices)", label_studio("classify", "choices")),
    Form(STUDIO, "classify", "JSON (Taxonomy)", label_studio("classify", "taxonomy")),
    Form(STUDIO, "classify", "JSON, several annotators", label_studio_several("classify", "choices")),
    Form(STUDIO, "classify", "JSON-MIN", minimal("classify", lambda one: one.choice)),
    Form(STUDIO, "classify", "JSON-MIN, {choices: [...]}", minimal("classify", lambda one: {"choices": [one.choice]})),
    Form(STUDIO, "classify", "CSV", table_cells("classify", lambda one: one.choice)),
    Form(STUDIO, "generate", "JSON (TextArea)", label_studio("generate", "text")),
    Form(STUDIO, "generate", "JSON-MIN", minimal("generate", lambda one: one.answer)),
    Form(STUDIO, "generate", "CSV", table_cells("generate", lambda one: one.answer)),
    Form("Argilla 2", "tag", "records, JSON (span question)", argilla_records("tag")),
    Form("Argilla 2", "tag", "flat columns", argilla_flat("tag")),
    Form("Argilla 2", "classify", "records, JSON (label question)", argilla_records("classify")),
    Form("Argilla 2", "classify", "records, JSON (multi-label question, one label)", argilla_records("classify", True)),
    Form("Argilla 2", "classify", "flat columns", argilla_flat("classify")),
    Form("Argilla 2", "generate", "records, JSON (text question)", argilla_records("generate")),
    Form("Argilla 2", "generate", "flat columns", argilla_flat("generate")),
    Form("Argilla FeedbackDataset", "tag", "JSON lines", argilla_feedback("tag")),
    Form("Argilla FeedbackDataset", "classify", "JSON lines", argilla_feedback("classify")),
    Form(
        "Argilla FeedbackDataset",
        "classify",
        "columns of lists, as Parquet has them",
        argilla_feedback("classify", True),
    ),
    Form("Argilla FeedbackDataset", "generate", "JSON lines", argilla_feedback("generate")),
    Form("Argilla 1", "tag", "token classification, [label, start, end]", argilla_first("tag")),
    Form("Argilla 1", "tag", "token classification, {label, start, end}", argilla_first("tag", "mappings")),
    Form("Argilla 1", "classify", "text classification", argilla_first("classify")),
    Form("Argilla 1", "classify", "text classification, one of several labels", argilla_first("classify", "several")),
    Form("Argilla 1", "generate", "text to text", argilla_first("generate")),
    Form("doccano", "tag", "JSON lines, label", doccano("tag")),
    Form("doccano", "tag", "JSON lines, labels (before 1.3)", doccano("tag", "labels")),
    Form("doccano", "tag", "JSON lines, text under data", doccano("tag", text="data")),
    Form("doccano", "tag", "JSON lines, entities and relations", doccano_entities),
    Form("doccano", "tag", "JSON lines, intents and slots", doccano_intents("tag")),
    Form("doccano", "classify", "JSON lines, label", doccano("classify")),
    Form("doccano", "classify", "JSON lines, labels", doccano("classify", "labels")),
    Form("doccano", "classify", "JSON lines, text under data", doccano("classify", text="data")),
    Form("doccano", "classify", "CSV", doccano_table("classify")),
    Form("doccano", "generate", "JSON lines, label", doccano("generate")),
    Form("doccano", "generate", "CSV", doccano_table("generate")),
    Form("Prodigy", "tag", "ner.manual, spans.manual", prodigy_spans),
    Form("Prodigy", "classify", "textcat (label and answer)", prodigy_textcat),
    Form("Prodigy", "classify", "choice (options and accept)", prodigy_choice),
    Form("spaCy", "tag", "{text, entities}", spacy_entities),
    Form("spaCy", "tag", "NER annotator", ner_annotator),
    Form("spaCy", "classify", "{text, cats}", spacy_cats),
    Form("CoNLL", "tag", "BIO", conll("BIO")),
    Form("CoNLL", "tag", "IOB1, four columns (CoNLL 2003)", conll_2003),
    Form("CoNLL", "tag", "BIOES", conll("BIOES", name="data.bio")),
    Form("CoNLL", "tag", "BILOU", conll("BILOU", name="data.iob")),
    Form("CoNLL", "tag", "IO (bare labels), .tsv", conll("IO", name="data.tsv")),
    Form("CoNLL", "tag", "GermEval 2014 (.tsv, comments, inner tags)", germeval),
    Form("CSV", "tag", "a word in each row, its sentence named in the first", word_rows),
    Form(HUB, "tag", "tokens and ner_tags, BIO", word_lists("BIO")),
    Form(HUB, "tag", "tokens and labels, BILOU", word_lists("BILOU", "labels")),
]
