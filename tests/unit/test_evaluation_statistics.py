"""The statistics against oracles: scipy, scikit-learn, and cases done by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats
from simulations.worlds import LabelWorld, Sizes, SpanWorld, alone
from sklearn.metrics import confusion_matrix, f1_score, log_loss, roc_auc_score
from test_evaluation_fakes import FOUR, LADDER, QUICK, Skill, draw_answers, examples, world

from loratory.evaluation import stress_test
from loratory.evaluation.contender_metrics import compute_seed_interval
from loratory.evaluation.statistics import bootstrap, calibration, comparisons, intervals, proportions
from loratory.evaluation.statistics.comparison_set import build_comparison_set
from loratory.evaluation.verdict.run_warnings import _warn_of_few_groups, _warn_of_rare_labels
from loratory.experiment.inference.evaluate_on_data import estimate_scores
from loratory.protocols import Counts, Decomposable, Example, Prediction, ScoredPredictions, Scores, sum_counts
from loratory.specs.evidence import EvidenceSpec
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate
from loratory.tasks.tag import Tag

TASK = Classify(labels=FOUR, headline="accuracy")


@pytest.fixture(scope="module")
def outcome() -> ScoredPredictions:
    return draw_answers(TASK, examples(FOUR, 500), 0.8, 5, [0.0] * 250 + [1.0] * 250)


# -- bootstrap
def test_groups_are_numbered_and_an_example_without_a_group_is_its_own() -> None:
    rows = [Example({}, group=group) for group in ("a", "", "b", "a", "")]
    assert bootstrap.index_groups(rows).tolist() == [0, 1, 2, 0, 3]


def test_resamples_draw_whole_groups_with_replacement_and_repeat_by_seed() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    drawn = bootstrap.draw_resamples(groups, 500, 3)
    assert drawn.weights.shape == (3, 500)
    assert set(drawn.weights.sum(axis=0).tolist()) == {3}
    assert drawn.weights.std() > 0.5
    assert (bootstrap.draw_resamples(groups, 500, 3).weights == drawn.weights).all()
    assert (bootstrap.draw_resamples(groups, 500, 4).weights != drawn.weights).any()


def test_a_resample_scores_as_if_its_examples_were_repeated(
    outcome: ScoredPredictions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "MAX_CHUNK_CELLS", 900)  # several chunks
    drawn = bootstrap.draw_resamples(np.arange(500) // 5, 20, 1)
    found = bootstrap.resample_scores(drawn, outcome.counts, TASK, ["accuracy", "macro_f1", "log_loss", "missing"])
    for place in (0, 19):
        rows = np.repeat(np.arange(500), drawn.weights[np.arange(500) // 5, place]).tolist()
        truth = [outcome.examples[i].answer["label"] for i in rows]  # type: ignore[index]
        said = [outcome.predictions[i].answer["label"] for i in rows]  # type: ignore[index]
        odds = [[outcome.predictions[i].probabilities["/label"][label] for label in FOUR] for i in rows]
        assert found["accuracy"][place] == pytest.approx(np.mean([a == b for a, b in zip(truth, said, strict=True)]))
        assert found["macro_f1"][place] == pytest.approx(f1_score(truth, said, labels=FOUR, average="macro"))
        assert found["log_loss"][place] == pytest.approx(log_loss(truth, odds, labels=FOUR))
    assert np.isnan(found["missing"]).all()


def test_many_totals_at_once_score_as_one_by_one(outcome: ScoredPredictions) -> None:
    totals = [dict(outcome.sum_counts()), {"n": 2.0, "reward": 1.0, "fn/INFO": 1.0, "tp/INFO": 1.0}, {"n": 1.0}, {}]
    keys = sorted(set().union(*totals))
    together = TASK.summarise({key: np.array([one.get(key, 0.0) for one in totals]) for key in keys})  # type: ignore[misc]
    for place, one in enumerate(totals):
        alone = TASK.summarise(one)
        assert all(type(value) is float for value in alone.values())
        for name, values in together.items():
            value = np.broadcast_to(values, len(totals))[place]
            assert value == alone[name] if name in alone else np.isnan(value)  # to the last bit
        assert set(alone) <= set(together)
    assert "log_loss" not in TASK.summarise(totals[1])


@pytest.mark.parametrize("count", [5, 20, 1000])
def test_the_expanded_interval_of_a_mean_has_students_width(count: int) -> None:
    # Hesterberg (2015), section 5.3: for the mean of normal data it agrees with Student's t interval
    values = stats.norm.ppf((np.arange(count) + 0.5) / count)
    share = bootstrap.compute_tail_share(0.95, count)
    spread = values.std() / math.sqrt(count)
    student = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / math.sqrt(count)
    assert -stats.norm.ppf(share) * spread == pytest.approx(student, rel=1e-9)


def test_the_p_value_inverts_the_interval() -> None:
    samples = np.random.default_rng(2).normal(0.02, 0.01, 4000)
    for confidence in (0.8, 0.9, 0.98):
        low = bootstrap.compute_percentile_interval(samples, confidence, 30)[0]
        assert bootstrap.compute_p_at_most(samples, low, 30) == pytest.approx((1 - confidence) / 2, abs=0.003)


def test_p_values_go_on_below_the_number_of_resamples() -> None:
    samples = np.random.default_rng(2).normal(0.1, 0.01, 400)
    assert 1e-30 < bootstrap.compute_p_at_most(samples, 0.0, 3000) < 1e-15
    assert bootstrap.compute_p_at_most(samples, 0.2, 3000) == 1.0
    assert bootstrap.compute_p_at_most(np.zeros(400), -0.1, 50) > 1e-4  # no variation seen is no certainty


# -- proportions
def test_single_examples_give_clopper_and_pearsons_bounds() -> None:
    right = np.array([1.0] * 187 + [0.0] * 13)
    share = proportions.estimate_proportion(right, np.ones(200), np.arange(200))
    exact = stats.binomtest(187, 200, alternative="greater").proportion_ci(0.95, "exact").low
    both = stats.binomtest(187, 200).proportion_ci(0.95, "exact")
    assert share.lower_bound(0.95) == pytest.approx(exact)
    assert share.interval(0.95) == pytest.approx((both.low, both.high))


def test_groups_that_are_right_or_wrong_as_a_whole_are_worth_one_example_each() -> None:
    right, index = np.repeat([1.0] * 50 + [0.0] * 10, 4), np.repeat(np.arange(60), 4)
    share = proportions.estimate_proportion(right, np.ones(240), index)
    assert share.compute_effective_size(0.95) == pytest.approx(60, rel=0.04)
    perfect = proportions.estimate_proportion(np.ones(240), np.ones(240), index)
    assert perfect.lower_bound(0.95) == pytest.approx(0.05 ** (1 / 60), abs=0.004)


def test_only_counted_examples_count() -> None:
    part, whole = np.array([1.0, 0, 1, 0]), np.array([1.0, 0, 1, 1])
    share = proportions.estimate_proportion(part, whole, np.array([0, 0, 1, 2]))
    assert (round(share.value, 9), share.n, share.groups) == (0.666666667, 3, 3)
    assert proportions.estimate_proportion(part, np.zeros(4), np.arange(4)).lower_bound(0.95) == 0.0


# -- comparisons
@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (3, 11), (40, 40), (70, 41)])
def test_mcnemar_is_the_exact_binomial_test(wins: int, losses: int) -> None:
    truth = stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert comparisons.compute_mcnemar_p(wins, losses) == pytest.approx(truth)


def test_holm_by_hand() -> None:
    # sorted 0.01 0.02 0.03 0.04 -> 4*0.01, 3*0.02, 2*0.03, 1*0.04 -> made to rise: 0.04 0.06 0.06 0.06
    assert comparisons.adjust_p_values([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert comparisons.adjust_p_values([0.9, 0.8]) == [1.0, 1.0]
    assert comparisons.adjust_p_values([]) == []


def test_connors_sample_size_is_met_exactly() -> None:
    effect = comparisons.compute_minimum_detectable_effect(500, 0.1, 0.05, 0.8)
    corrected = effect - 1 / 500
    needed = (1.959964 * math.sqrt(0.1) + 0.841621 * math.sqrt(0.1 - effect**2)) ** 2 / corrected**2
    assert needed == pytest.approx(500, rel=1e-4)
    assert comparisons.compute_minimum_detectable_effect(2000, 0.1, 0.05, 0.8) == pytest.approx(effect / 2, rel=0.04)
    assert comparisons.compute_minimum_detectable_effect(500, 0.0, 0.05, 0.8) == pytest.approx(9.7 / 500, rel=0.05)
    assert comparisons.compute_minimum_detectable_effect(3, 0.5, 0.05, 0.8) == 1.0


def test_the_best_simpler_contender_is_chosen_on_validation() -> None:
    task, made = world(n=200, ladder=LADDER[:5])
    field = build_comparison_set(task, made, QUICK)
    plans = [(one.name, other.name, kind) for one, other, kind in comparisons.plan_comparisons(field)]
    assert plans[:3] == [
        ("tfidf", "rules", "simplest"),
        ("zero-shot", "rules", "simplest"),
        ("zero-shot", "tfidf", "best_simpler"),
    ]
    simpler = max(field.ranks[:4], key=lambda standing: standing.validation).name
    assert plans[-1] == ("head", simpler, "best_simpler")
    assert len({plan[:2] for plan in plans}) == len(plans)


def test_no_difference_seen_is_no_proof_that_there_is_none() -> None:
    task, made = world(n=60, ladder=[Skill("a", 1.0), Skill("a", 1.0)])
    field = build_comparison_set(task, made, QUICK)
    twins = comparisons.pair_contenders(field, field.ranks[0], field.ranks[1])
    assert twins.difference == 0
    assert twins.interval(0.95)[0] < -0.02  # 60 examples alike leave room for 3 that are not
    assert twins.compute_p_at_most(-0.005) > 0.05


def test_contenders_of_different_test_sets_are_refused() -> None:
    task, made = world(n=50, ladder=LADDER[:1])
    _, others = world(n=51, ladder=LADDER[1:2])
    with pytest.raises(ValueError, match="another test set"):
        build_comparison_set(task, [*made, *others], QUICK)


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    task, made = world(n=600, ladder=[Skill("a", 1.0), Skill("b", 1.1)])
    one, two = build_comparison_set(task, made, EvidenceSpec(resamples=600)).ranks
    alone = math.hypot(*(float(s.samples[6]["accuracy"].std()) for s in (one, two)))
    assert float((one.samples[6]["accuracy"] - two.samples[6]["accuracy"]).std()) < 0.85 * alone


# -- intervals where a bootstrap sees nothing
def test_a_perfect_score_has_an_exact_interval() -> None:
    task, made = world(n=100, ladder=[Skill("perfect", 99.0)])
    field = build_comparison_set(task, made, QUICK)
    standing = field.ranks[0]
    assert compute_seed_interval(field, standing, "accuracy") == {
        "low": pytest.approx(0.025 ** (1 / 100)),
        "high": 1.0,
        "how": "union",
    }
    macro = compute_seed_interval(field, standing, "macro_f1")
    assert macro["high"] == 1.0
    assert 0.9 < macro["low"] < 0.025 ** (1 / 100)  # a label of 25 texts is known less well than 100 texts
    assert compute_seed_interval(field, standing, "coverage")["low"] == pytest.approx(
        0.025 ** (1 / 100)
    )  # all answered


def test_what_no_task_can_take_apart_has_the_exact_interval_where_it_never_varies() -> None:
    task, made = world(n=100, ladder=[Skill("tfidf", 1.0)])
    field = build_comparison_set(task, made, QUICK)
    plain = replace(field, task=Undivided(task))  # type: ignore[arg-type]
    assert intervals.find_ratios(plain.task, "macro_f1", [field.ranks[0].test.counts]) == ()
    assert intervals.find_ratios(plain.task, "accuracy", [field.ranks[0].test.counts]) == (intervals.MEAN_REWARD,)
    found = compute_seed_interval(plain, plain.ranks[0], "coverage")
    assert found == {"low": pytest.approx(0.025 ** (1 / 100)), "high": 1.0, "how": "union"}
    assert compute_seed_interval(plain, plain.ranks[0], "macro_f1")["how"] == "bootstrap"
    assert compute_seed_interval(plain, plain.ranks[0], "accuracy") == compute_seed_interval(
        field, field.ranks[0], "accuracy"
    )


@dataclass(frozen=True)
class Undivided:
    """A task of somebody else's, that does not say what its scores are made of."""

    whole: Classify
    headline: str = "macro_f1"
    lower_is_better: frozenset[str] = frozenset({"log_loss"})

    def summarise(self, totals: Counts) -> Scores:
        return self.whole.summarise(totals)


def test_the_bias_corrected_interval_is_scipys_where_groups_are_many() -> None:
    rng = np.random.default_rng(5)
    data = rng.exponential(size=300)
    weights = rng.multinomial(300, np.full(300, 1 / 300), size=4000)
    samples = np.sqrt(np.clip((weights @ data**2 / 300) - (weights @ data / 300) ** 2, 0, None))
    value = float(data.std())
    z0 = stats.norm.ppf((samples < value).mean())
    shares = stats.norm.cdf(2 * z0 + stats.norm.ppf([0.025, 0.975]))  # Efron and Tibshirani (1993), section 14.3
    assert bootstrap.compute_percentile_interval(samples, 0.95, 1e9, value) == pytest.approx(
        np.quantile(samples, shares), rel=2e-3
    )
    assert bootstrap.estimate_bias(samples, value) > 0.05  # a standard deviation is too small in resamples
    assert math.isfinite(bootstrap.estimate_bias(samples, 99.0))


def test_kish_counts_a_group_of_a_quarter_for_what_it_is() -> None:
    sizes = [80, *[4] * 60]
    drawn = bootstrap.draw_resamples(np.repeat(np.arange(61), sizes), 200, 1)
    assert drawn.effective_groups == pytest.approx(320**2 / (80**2 + 60 * 16))
    assert bootstrap.draw_resamples(np.arange(50), 200, 1).effective_groups == 50


# -- scores that are means of ratios
CLASSES = Classify(labels=("a", "b", "c", "d"), headline="macro_f1")


def test_every_score_is_the_mean_of_the_ratios_that_its_task_names(outcome: ScoredPredictions) -> None:
    text = "Ann met Bob in Rome on Monday"
    tag = Tag(labels=("P", "X"))
    gold = [(0, 3, "P"), (8, 11, "P"), (15, 19, "X")]
    said: list[list[tuple[int, int, str]]] = [gold, [(0, 3, "P"), (8, 14, "P")], [(0, 3, "X")], [(23, 29, "X")], []]
    spans = [
        tag.score_example(Example({"text": text}, tag.from_spans(text, gold)), Prediction(tag.from_spans(text, s)))
        for s in said
    ]
    generate = Generate(checks=("exact", "overlap"))
    written = [
        generate.score_example(Example({"prompt": "p"}, "a b c"), Prediction(answer))
        for answer in ("a b c", "a b", None)
    ]
    for task, marks in ((TASK, outcome.counts), (tag, spans), (generate, written)):
        assert isinstance(task, Decomposable)
        sums = sum_counts(marks)
        for name, score in task.summarise(sums).items():
            ratios = task.ratios(name)
            if name == "log_loss":
                assert ratios == ()
                continue
            linear = proportions.linearise_ratios(ratios, marks, sums)
            assert linear.value == pytest.approx(score), name
            assert (linear.part <= linear.whole + 1e-9).all(), name
            assert linear.residual.sum() == pytest.approx(0, abs=1e-9)


def confusions(rows: list[tuple[str, str]]) -> list[Counts]:
    return [CLASSES.score_example(Example({}, {"label": a}), Prediction({"label": b})) for a, b in rows]


def test_a_label_with_few_examples_counts_as_anything_up_to_one() -> None:
    rows = [("a", "a")] * 40 + [("b", "b")] * 38 + [("b", "a")] * 2 + [("c", "c"), ("c", "c"), ("c", "a")]
    marks = confusions(rows)
    drawn = bootstrap.draw_resamples(np.arange(len(rows)), 400, 1)
    samples = bootstrap.resample_scores(drawn, marks, CLASSES, ["macro_f1"])["macro_f1"]
    value = float(CLASSES.summarise(sum_counts(marks))["macro_f1"])
    one = intervals.estimate_score(CLASSES, "macro_f1", [marks], samples, drawn)
    assert one.highest == pytest.approx(value + (1 - 0.8) / 4 + 1 / 4)  # c has F1 0.8 from three examples, d has none
    assert (one.raised >= samples + 0.25 - 1e-9).all()
    found = intervals.compute_interval(one, 0.95)
    assert found["low"] < value < one.highest <= found["high"]
    whole = bootstrap.compute_percentile_interval(samples, 0.95, len(rows))
    assert found["high"] > 0.99 > whole[1] + 0.2


def test_a_label_that_the_test_set_lacks_leaves_room_for_any_difference() -> None:
    rows = [("a", "a")] * 60 + [("b", "b")] * 60 + [("c", "c")] * 60
    ours, others = (
        confusions(rows),
        confusions([(a, "a" if place % 5 == 0 else b) for place, (a, b) in enumerate(rows)]),
    )
    drawn = bootstrap.draw_resamples(np.arange(len(rows)), 400, 1)
    one, two = (bootstrap.resample_scores(drawn, each, CLASSES, ["macro_f1"])["macro_f1"] for each in (ours, others))
    found = comparisons.pair_counts(CLASSES, "macro_f1", (ours, others), one - two, drawn)
    assert found.unseen_share == 0.25
    assert found.discordant_counts is None  # macro-F1 is no mean of right and wrong
    low, high = found.interval(0.95)
    assert low < 0 < found.difference < high
    assert found.compute_p_two_sided() > 0.05
    assert found.compute_p_at_most(-0.005) > 0.05  # d could be worse by all of it
    three = CLASSES.model_copy(update={"labels": ("a", "b", "c")})
    known = comparisons.pair_counts(three, "macro_f1", (ours, others), (one - two) * 4 / 3, drawn)
    assert known.unseen_share == 0.0
    assert known.interval(0.95)[0] > 0
    assert known.compute_p_two_sided() < 0.001
    assert found.find_detectable_difference(0.025, 0.8) == pytest.approx(
        known.find_detectable_difference(0.025, 0.8) * 3 / 4 + 0.25
    )


def test_mcnemar_is_asked_only_where_the_headline_is_the_mean_of_right_and_wrong() -> None:
    task, made = world(n=300, ladder=LADDER[:3])
    for headline, used in (("accuracy", True), ("macro_f1", False)):
        rows = comparisons.compare_contenders(
            build_comparison_set(task.model_copy(update={"headline": headline}), made, QUICK)
        )
        assert all((row["mcnemar"] is not None) is used for row in rows)
    half = [{"n": 1.0, "reward": 0.5}, {"n": 1.0, "reward": 1.0}] * 20
    right = [{"n": 1.0, "reward": 1.0}] * 40
    drawn = bootstrap.draw_resamples(np.arange(40), 200, 1)
    found = comparisons.pair_counts(Generate(), "checks", (half, right), np.full(200, -0.25), drawn)
    assert found.discordant_counts is None  # half right is neither


@pytest.mark.parametrize("shift", [0.0, 0.01, 0.02, 0.03, 0.04])
@pytest.mark.parametrize("scarce", [False, True])
@pytest.mark.parametrize("unseen", [0.0, 0.02])
def test_no_decision_contradicts_its_interval(shift: float, scarce: bool, unseen: float) -> None:
    rng = np.random.default_rng(8)
    for error in rng.uniform(0.003, 0.03, 20):
        samples = rng.normal(shift, error, 400)
        one = comparisons.PairedDifference(shift, samples, 90.5, 200, shift + 0.01, 0.01, 1.3, scarce, unseen)
        for alpha in (0.01, 0.05, 0.2):
            low, high = one.interval(1 - alpha)
            assert not (one.compute_p_two_sided() <= alpha and low <= 0 <= high)


def test_twenty_of_twenty_right_is_no_certainty_wherever_it_is_told() -> None:
    rows = examples(FOUR, 20)
    said = [Prediction({"label": example.answer["label"]}) for example in rows]  # type: ignore[index]
    perfect = ScoredPredictions(rows, said, [TASK.score_example(e, p) for e, p in zip(rows, said, strict=True)])
    found = estimate_scores(TASK, perfect, QUICK)
    assert found["accuracy"] == {"value": 1.0, "low": pytest.approx(0.025 ** (1 / 20)), "high": 1.0}
    assert found["macro_f1"]["low"] < found["accuracy"]["low"]
    change = stress_test.measure_score_change(TASK, stress_test.PerturbedOutcomes(perfect, perfect), QUICK)
    assert change["change"] == 0.0
    assert change["low"] < -0.05
    assert change["high"] > 0.05


def test_no_leak_seen_is_no_proof_that_there_is_none() -> None:
    tag = Tag(labels=("P",))
    answer = tag.from_spans("Ann is here", [(0, 3, "P")])
    rows = [Example({"text": "Ann is here"}, answer, origin=str(i)) for i in range(30)]
    said = [Prediction(answer)] * 30
    outcome = ScoredPredictions(rows, said, [tag.score_example(e, p) for e, p in zip(rows, said, strict=True)])
    found = estimate_scores(tag, outcome, QUICK)
    assert found["leak_rate"]["low"] == 0.0
    assert 0.05 < found["leak_rate"]["high"] < 0.2  # 30 texts, though 90 characters
    assert 0.8 < found["strict_f1"]["low"] < 0.95


def test_sparse_and_skewed_test_sets_say_so() -> None:
    field = LabelWorld((0.5, 0.46, 0.02, 0.02), ((0.9,) * 4,), Sizes((80, *(4,) * 40)), "macro_f1").draw(1, QUICK)
    (said,) = _warn_of_few_groups(field)
    assert f"only {field.resampling.effective_groups:.0f} independent groups" in said
    assert "the largest of its 41 groups has 80 of 240 examples" in said
    field = LabelWorld((0.5, 0.46, 0.04, 1e-9), ((0.9,) * 4,), alone(80), "macro_f1").draw(1, QUICK)
    assert _warn_of_few_groups(field) == []
    few, sparse, unseen = _warn_of_rare_labels(field)
    assert "l3 (0)" in few
    assert "2 of the 4 labels have fewer than 5 test examples" in sparse
    assert "1 of the 4 labels have no test example" in unseen
    assert "25.0 points" in unseen
    plain = LabelWorld((0.5, 0.46, 0.04, 1e-9), ((0.9,) * 4,), alone(80), "accuracy").draw(1, QUICK)
    assert len(_warn_of_rare_labels(plain)) == 1  # accuracy is no mean over labels
    spans = SpanWorld((0.9,), (0.1,), alone(10)).draw(1, QUICK)
    assert "X (" in _warn_of_rare_labels(spans)[0]


def test_mean_over_folds_is_students() -> None:
    values = [0.7, 0.72, 0.69, 0.75, 0.71]
    expected = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert intervals.compute_mean_interval(values, 0.95) == pytest.approx(expected)
    assert intervals.compute_mean_interval([0.9, 1.0, 1.0], 0.95)[1] == 1.0


# -- calibration
def confident(pairs: list[tuple[float, bool]]) -> ScoredPredictions:
    rows = [Example({"text": str(i)}, {"label": "INFO"}, origin=f"f:{i}") for i in range(len(pairs))]
    said = [
        Prediction({"label": "INFO" if right else "FRAUD"}, {"/label": {"INFO" if right else "FRAUD": confidence}})
        for confidence, right in pairs
    ]
    return ScoredPredictions(rows, said, [TASK.score_example(e, p) for e, p in zip(rows, said, strict=True)])


def test_calibration_error_by_hand() -> None:
    known = calibration.collect_confidences(confident([(0.6, True), (0.6, False), (0.9, True), (0.9, True)]), bins=2)
    assert known is not None
    assert calibration.compute_calibration_error(known) == pytest.approx((2 * abs(0.5 - 0.6) + 2 * abs(1 - 0.9)) / 4)
    assert [point["n"] for point in calibration.build_reliability_curve(known)] == [2, 2]


def test_equal_confidences_share_a_bin_whatever_the_order() -> None:
    mixed = [(0.5, i % 2 == 0) for i in range(300)]
    sorted_ = sorted(mixed, key=lambda pair: pair[1])
    errors = [
        calibration.compute_calibration_error(known)
        for pairs in (mixed, sorted_)
        if (known := calibration.collect_confidences(confident(pairs)))
    ]
    assert errors == [pytest.approx(0.0), pytest.approx(0.0)]


def test_a_calibrated_predictor_lies_at_its_chance_level_and_a_boaster_above() -> None:
    rng = np.random.default_rng(4)
    confidence = rng.uniform(0.5, 1, 1500)
    fair, boasting = (
        [(float(c), bool(u < c - shift)) for c, u in zip(confidence, rng.random(1500), strict=True)]
        for shift in (0.0, 0.15)
    )
    for pairs, above in ((fair, False), (boasting, True)):
        known = calibration.collect_confidences(confident(pairs))
        assert known is not None
        mean, high = calibration.estimate_chance_error(known)
        assert 0 < mean < high
        assert (calibration.compute_calibration_error(known) > high) is above


def test_no_probabilities_no_calibration() -> None:
    bare = ScoredPredictions(
        [Example({}, {"label": "INFO"})], [Prediction({"label": "INFO"})], [{"n": 1.0, "reward": 1.0}]
    )
    assert calibration.collect_confidences(bare) is None


def test_separation_is_sklearns_auroc(outcome: ScoredPredictions) -> None:
    right = [mark["reward"] for mark in outcome.counts]
    truth = roc_auc_score(right, [prediction.confidence for prediction in outcome.predictions])
    assert calibration.compute_confidence_auroc(outcome) == pytest.approx(truth)
    assert calibration.compute_confidence_auroc(confident([(0.7, True)])) is None


def test_risk_rises_to_the_error_rate_and_ties_share_it(outcome: ScoredPredictions) -> None:
    coverage, risk = calibration.compute_risk_coverage(outcome)
    assert coverage[-1] == 1.0
    assert risk[-1] == pytest.approx(1 - outcome.sum_counts()["reward"] / 500)
    assert calibration.compute_aurc(confident([(0.9, True), (0.9, False)])) == pytest.approx(0.5)
    assert calibration.compute_aurc(confident([(0.9, True), (0.8, False)])) == pytest.approx((0 + 0.5) / 2)


def test_the_confusion_matrix_is_sklearns(outcome: ScoredPredictions) -> None:
    truth = [example.answer["label"] for example in outcome.examples]  # type: ignore[index]
    said = [prediction.answer["label"] for prediction in outcome.predictions]  # type: ignore[index]
    counts = calibration.build_confusion_matrix(TASK, outcome)
    assert (counts[:, :4] == confusion_matrix(truth, said, labels=FOUR)).all()
    assert calibration.normalise_rows(counts).sum(axis=1) == pytest.approx(np.ones(4))
    top = calibration.find_confused_pairs(TASK, outcome, 1)[0]
    wrong = counts[:, :4] - np.diag(np.diag(counts[:, :4]))
    assert top["count"] == wrong.max()


def test_mistakes_come_surest_first_with_their_row() -> None:
    found = calibration.find_confident_mistakes(confident([(0.6, False), (0.99, True), (0.8, False)]))
    assert [(row["origin"], row["confidence"]) for row in found] == [("f:2", 0.8), ("f:0", 0.6)]
