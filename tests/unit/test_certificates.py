"""A form that is not the fit is refused with the stage where it goes astray; an honest one is not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loratory.artifacts.manifests import digest_of
from loratory.errors import ArtifactError, ParityError
from loratory.evaluation.statistics.proportions import compute_clopper_pearson
from loratory.exporting.certificates.adversarial_texts import WRITTEN_TEXTS, fill_window
from loratory.exporting.certificates.certificate import CERTIFICATE_FILE, Certificate, seal_certificate
from loratory.exporting.certificates.certification import certify_folder
from loratory.exporting.certificates.checksums import compare_checksums, compute_checksum
from loratory.exporting.certificates.golden_texts import select_golden_texts, select_stratified
from loratory.exporting.certificates.goldens import GOLDENS_FILE, are_same_goldens, read_goldens
from loratory.exporting.certificates.measurement import compute_lower_bound
from loratory.exporting.certificates.verification import verify_folder
from loratory.protocols.exporters import ToleranceClass
from toy_forms import FILE, LABELS, TEXTS, ToyModel, break_layer, make_exporter, make_goldens, make_reference, write_toy

FAULTS: dict[str, tuple[ToyModel, str]] = {
    "upper case kept": (replace(ToyModel(), lower_case=False), "tokens"),
    "no first token": (replace(ToyModel(), begins=False), "tokens"),
    "another window": (replace(ToyModel(), max_tokens=30), "tokens"),
    "two rows of the table swapped": (replace(ToyModel(), swapped_rows=(97, 101)), "embedding"),
    "first layer lost its adapter": (break_layer(1, 0.9), "layer 1"),
    "a small error in the second layer": (break_layer(2, 1.0005), "layer 2"),
    "last layer merged twice": (break_layer(3, 2.0), "layer 3"),
    "first token for the mean": (replace(ToyModel(), pooling="cls"), "pooled"),
    "another bias": (replace(ToyModel(), bias=0.3), "logits"),
    "temperature lost": (replace(ToyModel(), temperature=1.0), "probabilities"),
    "labels in another order": (replace(ToyModel(), labels=LABELS[::-1]), "labels"),
    "threshold lost": (replace(ToyModel(), thresholds={}), "answer"),
    "padding seen": (replace(ToyModel(), sees_padding=True), "batch"),
    "answers by chance": (replace(ToyModel(), by_chance=True), "logits"),
    "not a number": (replace(ToyModel(), breaks_at="cash"), "embedding"),
}


def certify(folder: Path, model: ToyModel, kind: ToleranceClass | None = "exact") -> Certificate | None:
    return certify_folder(write_toy(folder, model), "toy", make_exporter(kind), make_reference())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused_at_its_stage(name: str, tmp_path: Path) -> None:
    model, stage = FAULTS[name]
    with pytest.raises(ParityError) as caught:
        certify(tmp_path, model)
    assert caught.value.stage == stage, str(caught.value)
    assert caught.value.exit_code == 3
    assert stage in str(caught.value)
    assert not (tmp_path / CERTIFICATE_FILE).exists()


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-6])
def test_another_order_of_sums_is_the_same_model(noise: float, tmp_path: Path) -> None:
    made = certify(tmp_path, replace(ToyModel(), noise=noise))
    assert made is not None
    measured = made.values["measured"]
    assert measured["tokens_equal"]
    assert measured["deterministic"]
    assert (measured["max_dp"] > 0) == (noise > 0)
    assert measured["label_agreement"]["equal"] == measured["label_agreement"]["of"] == len(TEXTS) + 4
    assert measured["label_agreement"]["at_least"] == pytest.approx(0.05 ** (1 / (len(TEXTS) + 4)))  # Clopper, Pearson
    assert measured["answers_equal"] == len(TEXTS) + 4


def test_rounding_that_is_not_exact_may_be_reduced_precision(tmp_path: Path) -> None:
    model = replace(ToyModel(), noise=2e-3)
    with pytest.raises(ParityError, match="embedding"):
        certify(tmp_path / "exact", model)
    assert certify(tmp_path / "reduced", model, "reduced") is not None


def test_a_quantised_form_without_test_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="no test rows") as caught:
        certify(tmp_path, ToyModel(), "quantised")
    assert "its run's folder" in str(caught.value)


def test_what_is_no_model_gets_no_certificate(tmp_path: Path) -> None:
    assert certify(tmp_path, ToyModel(), None) is None


# ---- verification of a folder
@pytest.fixture
def certified(tmp_path: Path) -> Path:
    assert certify(tmp_path / "toy", ToyModel()) is not None
    return tmp_path / "toy"


def reseal(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a certificate as its author could: with a digest that fits again."""
    values = json.loads((folder / CERTIFICATE_FILE).read_text(encoding="utf-8"))
    change(values)
    values["digest"] = digest_of({key: value for key, value in values.items() if key != "digest"})
    (folder / CERTIFICATE_FILE).write_text(json.dumps(values), encoding="utf-8")


def rehash(folder: Path, values: dict[str, Any]) -> None:
    from loratory.exporting.certificates.certificate import list_files

    values["files"] = list_files(folder)
    values["goldens"]["sha256"] = values["files"][GOLDENS_FILE]


def test_a_folder_is_verified_again(certified: Path) -> None:
    made = verify_folder(certified, make_exporter())
    largest = made.measured.find_largest("dp")
    assert largest is not None
    assert largest < 1e-8  # the ninth digit
    assert made.to_dict()["passed"] is True


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: write_toy(folder, ToyModel(temperature=1.0)),
        lambda folder: (folder / "notes.txt").write_text("mine"),
        lambda folder: (folder / FILE).unlink(),
        lambda folder: (folder / GOLDENS_FILE).write_text(""),
        lambda folder: (folder / CERTIFICATE_FILE).write_text(
            (folder / CERTIFICATE_FILE).read_text().replace('"max_dp": 0.0', '"max_dp": 0.1')
        ),
    ],
)
def test_a_changed_folder_is_refused_by_digest(certified: Path, change: Callable[[Path], object]) -> None:
    change(certified)
    with pytest.raises(ParityError) as caught:
        verify_folder(certified, make_exporter())
    assert caught.value.stage == "digest"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_with_digests_made_anew_is_found_by_its_numbers(name: str, certified: Path) -> None:
    model, stage = FAULTS[name]
    write_toy(certified, model)
    reseal(certified, lambda values: rehash(certified, values))
    with pytest.raises(ParityError) as caught:
        verify_folder(certified, make_exporter())
    assert caught.value.stage == stage


def test_tolerances_of_the_folder_are_not_believed(certified: Path) -> None:
    write_toy(certified, break_layer(3, 0.5))

    def widen(values: dict[str, Any]) -> None:
        rehash(certified, values)
        values["tolerances"] = {name: 1e9 for name in values["tolerances"]}
        values["tolerance_class"] = "quantised"

    reseal(certified, widen)
    with pytest.raises(ParityError, match="layer 3"):
        verify_folder(certified, make_exporter())


def test_few_goldens_prove_nothing(certified: Path) -> None:
    lines = (certified / GOLDENS_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    (certified / GOLDENS_FILE).write_text("".join(lines[:3]), encoding="utf-8")

    def fewer(values: dict[str, Any]) -> None:
        rehash(certified, values)
        values["goldens"] |= {"count": 3, "batches": 0}

    reseal(certified, fewer)
    with pytest.raises(ParityError, match="prove nothing"):
        verify_folder(certified, make_exporter())


def test_another_fits_certificate(certified: Path, tmp_path: Path) -> None:
    from loratory.artifacts.manifests import stage_artifact

    other = tmp_path / "other"
    facts = {"kind": "export", "layout": "toy", "fit": {**make_reference().fit, "identity": "b"}}
    with stage_artifact(other, facts) as part:
        for file in certified.iterdir():
            (part / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ParityError, match="another fit's"):
        verify_folder(other, make_exporter())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "loratory-certificate", "version": 9}', '{"kind": "other"}'])
def test_what_is_no_certificate_is_said_to_be_none(certified: Path, text: str) -> None:
    (certified / CERTIFICATE_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError):
        verify_folder(certified, make_exporter())


def test_a_folder_without_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no certificate\.json") as caught:
        verify_folder(write_toy(tmp_path, ToyModel()), make_exporter())
    assert "--to NAME" in str(caught.value)


def test_the_digest_is_of_all_that_it_says() -> None:
    made = seal_certificate({"format": "toy"})
    assert made.digest == digest_of({key: value for key, value in made.values.items() if key != "digest"})


# ---- goldens
def test_goldens_are_read_as_they_were_written(tmp_path: Path) -> None:
    made = make_goldens(ToyModel())
    again = read_goldens(made.to_text().encode(), tmp_path)
    assert again.batches == made.batches
    for one, other in zip(made.goldens, again.goldens, strict=True):
        assert one.to_dict() == other.to_dict()
    lengths = [len(one.tokens) for one in made.get_members("batch-1")]
    assert max(lengths) > 2 * min(lengths)


def test_goldens_of_another_fit_are_others() -> None:
    made = make_goldens(ToyModel())
    assert are_same_goldens(made, make_goldens(replace(ToyModel(), noise=1e-9)))
    assert not are_same_goldens(made, make_goldens(replace(ToyModel(), bias=0.1)))
    assert not are_same_goldens(made, make_goldens(replace(ToyModel(), lower_case=False)))
    assert not are_same_goldens(made, make_goldens(ToyModel(), TEXTS[:-1]))


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"kind": "test", "id": "a"}\n'])
def test_what_are_no_goldens(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no golden inputs"):
        read_goldens(data, tmp_path)


def test_texts_are_of_every_label_and_length() -> None:
    texts = [f"{'word ' * length}{label}" for label in LABELS for length in range(1, 60)]
    labels = [label for label in LABELS for _ in range(1, 60)]
    places = select_stratified(texts, labels, 30)
    assert [sum(labels[at] == label for at in places) for label in LABELS] == [10, 10, 10]
    for label in LABELS:
        own = [len(texts[at]) for at in places if labels[at] == label]
        every = [len(text) for text, known in zip(texts, labels, strict=True) if known == label]
        assert (min(own), max(own)) == (min(every), max(every))
    many = [f"label-{at}" for at in range(177)]
    assert len(select_stratified(texts, many, 30)) == 30


def test_the_choice_is_the_same_again_and_has_what_is_near_a_boundary() -> None:
    texts, labels = [f"{label} {number}" for label in LABELS for number in range(90)], [""] * 270
    margins = np.linspace(1, 0, 270).tolist()
    chosen = select_golden_texts(texts, labels, margins)
    assert chosen == select_golden_texts(texts, labels, margins)
    ids = {one.id for one in chosen}
    assert {f"test-{at:04d}" for at in range(264, 270)} <= ids
    assert {f"adversarial-{name}" for name in WRITTEN_TEXTS} <= ids
    assert len(ids) == len(chosen)


def test_halves_of_two_labels_stand_near_their_boundary() -> None:
    chosen = select_golden_texts(["one two three four", "five six seven eight"], ["a", "b"])
    mixed = [one.text for one in chosen if "boundary" in one.id]
    assert sorted(mixed) == ["five six three four", "one two seven eight"]


@pytest.mark.parametrize("window", [8, 40, 256])
def test_a_text_fills_the_window_and_another_is_longer(window: int) -> None:
    def count(text: str) -> int:
        return len(text.split()) + 2

    made = fill_window(window, count)
    assert count(made["longest"]) == window
    assert count(made["longer-than-window"]) > window


# ---- checksums
def test_a_checksum_is_its_formula_and_sees_places() -> None:
    states = np.random.default_rng(1).normal(size=(5, 7))
    expected = [
        sum(
            states[t, d] * math.cos(0.7 * k * (t + 1) + 0.31 * (2 * k + 1) * (d + 1))
            for t in range(5)
            for d in range(7)
        )
        / math.sqrt(35)
        for k in (1, 2, 3, 4)
    ]
    found = compute_checksum(states)
    assert found == pytest.approx(expected, abs=1e-12)
    assert compute_checksum(states[0]) == compute_checksum(states[:1])
    assert compare_checksums(compute_checksum(states[::-1]), found) > 0.01
    assert compare_checksums(compute_checksum(states[:, [1, 0, 2, 3, 4, 5, 6]]), found) > 0.001


@pytest.mark.parametrize(("right", "of"), [(0, 5), (36, 36), (35, 36), (149, 154), (1, 200)])
def test_the_bound_of_agreement_is_that_of_scipy(right: int, of: int) -> None:
    low, _ = compute_clopper_pearson(right / of, of, 0.05)
    assert compute_lower_bound(right, of, 0.95) == pytest.approx(low, abs=1e-9)
