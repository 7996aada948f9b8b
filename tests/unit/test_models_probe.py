"""What a machine does fast: measured, kept, read back, and followed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loratory.backbones.forward import attention, hardware_benchmark
from loratory.backbones.forward.hardware_benchmark import Hardware
from loratory.cli import app
from loratory.experiment.environment import load_or_measure_hardware, resolve_auto_options
from loratory.protocols.events import ignore_event
from loratory.specs.training import TrainingSpec

SEEN = Hardware("cpu", "some processor", 2, "2.13", {"fp32": 100.0, "bf16": 300.0}, 64, 32)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(attention, "SHORT_ROW_LIMITS", attention.ShortRowLimits())


@pytest.mark.parametrize(
    ("gflops", "precision"),
    [
        ({"fp32": 100.0, "bf16": 300.0}, "bf16"),
        ({"fp32": 100.0, "bf16": 119.0}, "fp32"),  # not worth its rounding
        ({"fp32": 100.0}, "fp32"),
        ({"fp32": 100.0, "bf16": 50.0, "fp16": 400.0}, "fp16"),
        ({"fp32": 100.0, "bf16": 390.0, "fp16": 400.0}, "bf16"),
    ],
)
def test_low_precision_is_chosen_where_it_pays(gflops: dict[str, float], precision: str) -> None:
    assert replace(SEEN, gflops=gflops).choose_precision() == precision


@pytest.mark.slow  # where bf16 is emulated, products of a real size take 15 seconds
def test_a_real_measurement_is_made_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_benchmark, "ROW_LENGTHS", (16, 32))
    monkeypatch.setattr(hardware_benchmark, "TIMED_TOKENS", 64)
    made = hardware_benchmark.load_or_measure()
    assert made.gflops["fp32"] > 0
    assert made.gflops["bf16"] > 0
    assert made.short_training in (0, 16, 32)
    assert len(list(hardware_benchmark.cache_folder().iterdir())) == 1
    monkeypatch.setattr(hardware_benchmark, "measure_hardware", lambda device: pytest.fail("measured again"))
    assert hardware_benchmark.load_or_measure() == made


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"device": "cpu"}', json.dumps({**asdict(SEEN), "version": 0})])
def test_a_damaged_or_older_measurement_is_made_again(damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_benchmark, "measure_hardware", lambda device: SEEN)
    hardware_benchmark.load_or_measure()
    file = next(hardware_benchmark.cache_folder().iterdir())
    file.write_text(damage, encoding="utf-8")
    assert hardware_benchmark.load_or_measure() == SEEN
    assert hardware_benchmark.parse_measurement(json.loads(file.read_text(encoding="utf-8"))) == SEEN


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(hardware_benchmark, "measure_hardware", lambda device: SEEN)
    assert hardware_benchmark.load_or_measure() == SEEN


def test_auto_is_settled_and_what_is_said_stays() -> None:
    settled = resolve_auto_options(TrainingSpec(), SEEN)
    assert (settled.precision, settled.attention, settled.product) == ("bf16", "short", "fused")
    assert (attention.SHORT_ROW_LIMITS.training, attention.SHORT_ROW_LIMITS.inference) == (64, 32)
    plain = TrainingSpec(precision="fp32", attention="stock", product="peft")
    assert resolve_auto_options(plain, SEEN) == plain


def test_a_run_goes_on_with_the_choices_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "environment.json"
    monkeypatch.setattr(hardware_benchmark, "measure_hardware", lambda device: SEEN)
    monkeypatch.setattr("loratory.experiment.environment.count_torch_threads", lambda: 2)
    monkeypatch.setattr(hardware_benchmark, "processor_name", lambda device="cpu": "some processor")
    kept = replace(SEEN, short_training=256)
    file.write_text(json.dumps({"measured": asdict(kept)}), encoding="utf-8")
    assert load_or_measure_hardware(file, "cpu", ignore_event) == kept
    monkeypatch.setattr(hardware_benchmark, "processor_name", lambda device="cpu": "another processor")
    assert load_or_measure_hardware(file, "cpu", ignore_event) == SEEN
    file.write_text("{}", encoding="utf-8")
    assert load_or_measure_hardware(file, "cpu", ignore_event) == SEEN


def test_doctor_says_what_it_found_and_what_it_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_benchmark, "measure_hardware", lambda device: SEEN)
    told = CliRunner().invoke(app, ["doctor"])
    assert told.exit_code == 0
    assert "fp32 100, bf16 300 GFLOP/s" in told.stdout
    assert "plain up to 64 tokens while training, 32 while answering" in told.stdout
    found = json.loads(CliRunner().invoke(app, ["doctor", "--json", "--again"]).stdout)
    assert found["chosen"]["precision"] == "bf16"
    assert found["measured"]["processor"] == "some processor"
