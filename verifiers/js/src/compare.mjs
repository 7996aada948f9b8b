// Every stage of every golden beside what was recomputed.

import { argmax, chooseLabel, decides } from "./operating_point.mjs";
import { nameLayer, quantile } from "./stages.mjs";
import { MAX_MARGIN, TOLERANCES } from "./tolerances.mjs";

/** Compare one golden with the ids and the outputs that this program makes of it. */
export function compareGolden(golden, ids, made, facts, limits, to) {
  to.addGolden("tokens", golden.id, ids.length === golden.tokens.length && ids.every((id, at) => id === golden.tokens[at]));
  const expected = { logits: toRows(golden.logits), probabilities: toRows(golden.probabilities) };
  compareStates(golden, made, limits, to);
  if (expected.probabilities === null) return;
  if (made.logits !== null && expected.logits !== null) {
    to.addNumber("logits", golden.id, compareRows(expected.logits, made.logits, relativeDifference), limits.states);
  }
  const dp = compareRows(expected.probabilities, made.probabilities, (e, f) => Math.abs(e - f));
  to.addNumber("probabilities", golden.id, dp, limits.probability);
  to.largestDps.push(dp);
  if (dp === Infinity) return;
  compareLabels(golden, expected.probabilities, made, facts, limits, to);
  compareAnswer(golden, expected.probabilities, made, facts, limits, to);
}

function compareStates(golden, made, limits, to) {
  if (made.layers && golden.layers) {
    if (made.layers.length !== golden.layers.length) {
      const place = Math.min(made.layers.length, golden.layers.length);
      to.addProblem(nameLayer(place), `the graph has ${made.layers.length - 1} layers, the goldens ${golden.layers.length - 1}`);
    }
    made.layers.slice(0, golden.layers.length).forEach((found, place) => {
      to.addNumber(nameLayer(place), golden.id, compareRows([golden.layers[place]], [found], relativeDifference), limits.states);
    });
  }
  if (made.pooled && golden.pooled) {
    to.addNumber("pooled", golden.id, compareRows([golden.pooled], [made.pooled], relativeDifference), limits.states);
  }
}

function relativeDifference(expected, found) {
  return Math.abs(expected - found) / Math.max(1, Math.abs(expected));
}

/** The stages that are about all goldens together. */
export function compareWhole(certificate, limits, to) {
  const probabilities = to.at("probabilities");
  probabilities.q99 = quantile(to.largestDps, 0.99);
  if (probabilities.q99 > limits.quantile) {
    to.addProblem("probabilities", `1 in 100 goldens is farther off than ${probabilities.q99.toExponential(1)}, and ${limits.quantile} is tolerated`);
  }
  if (limits.byEvidence) checkEvidence(certificate.measured?.accuracy, to);
}

function checkEvidence(accuracy, to) {
  if (!accuracy?.rows) {
    to.addProblem("labels", "a quantised form is judged by its accuracy, and the certificate has none");
    return;
  }
  const allowed = Math.min(Math.abs(accuracy.margin), MAX_MARGIN);
  if (!(accuracy.low >= -allowed)) to.addProblem("labels", `accuracy may be lower by ${-accuracy.low}, and ${allowed} is allowed`);
}

/** A list of numbers as one row, a list of lists as it is; null as it is. */
export function toRows(outputs) {
  if (outputs === null || outputs === undefined) return null;
  return Array.isArray(outputs[0]) ? outputs : [outputs];
}

/** The largest difference between two tables; infinite where their shapes differ or one holds no number. */
export function compareRows(expected, found, differenceOf) {
  if (expected.length !== found.length) return Infinity;
  let largest = 0;
  for (const [number, row] of expected.entries()) {
    if (row.length !== found[number].length) return Infinity;
    for (const [place, value] of row.entries()) {
      const difference = differenceOf(value, found[number][place]);
      largest = Number.isNaN(difference) ? Infinity : Math.max(largest, difference);
    }
  }
  return largest;
}

function compareLabels(golden, expected, made, facts, limits, to) {
  const { labels } = facts;
  if (expected.some((row) => row.length !== labels.length)) {
    to.addProblem("labels", `${labels.length} labels, and outputs for ${expected[0].length}`);
    return;
  }
  let same = expected.every(
    (row, number) => argmax(row) === argmax(made.probabilities[number]) || marginOf(row) < limits.labelMargin,
  );
  const answer = labelOf(golden.answer);
  if (same && isSingleLabel(facts, golden) && answer !== undefined && !golden.abstained && !decides(facts.operating_point)) {
    same = answer === labels[argmax(expected[0])];
  }
  to.addGolden("labels", golden.id, same);
}

function compareAnswer(golden, expected, made, facts, limits, to) {
  const answer = labelOf(golden.answer);
  if (!isSingleLabel(facts, golden) || answer === undefined) {
    to.at("answer").notChecked = "answers that are no label of one row are not recomputed by this program";
    return;
  }
  const logits = made.logits?.[0] ?? made.probabilities[0].map((p) => Math.log(p) * (facts.temperature ?? 1));
  const place = chooseLabel(facts.operating_point, facts.labels, made.probabilities[0], logits, facts.scope);
  const found = place < 0 ? null : facts.labels[place];
  const same = found === answer && (place < 0) === golden.abstained;
  const near = argmax(expected[0]) !== argmax(made.probabilities[0]) && marginOf(expected[0]) < limits.labelMargin;
  to.addGolden("answer", golden.id, same || near || limits.byEvidence);
}

/** The label of an answer; null for none, undefined for an answer of another task. */
function labelOf(answer) {
  if (answer === null || typeof answer === "string") return answer;
  return typeof answer?.label === "string" ? answer.label : undefined;
}

function isSingleLabel(facts, golden) {
  return (golden.rows ?? 1) === 1 && !Array.isArray(golden.probabilities[0]) && (facts.task?.kind ?? "classify") === "classify";
}

/** The lead of the likeliest label over the second. */
function marginOf(row) {
  const [first, second = 0] = [...row].sort((a, b) => b - a);
  return first - second;
}
