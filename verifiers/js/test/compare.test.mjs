import assert from "node:assert/strict";
import { test } from "node:test";

import { compareGolden, compareWhole } from "../src/compare.mjs";
import { softmax } from "../src/model.mjs";
import { Comparison, quantile } from "../src/stages.mjs";
import { TOLERANCES } from "../src/tolerances.mjs";

const FACTS = { task: { kind: "classify" }, labels: ["a", "b"], temperature: 1, operating_point: null };
const LOGITS = [1, 2.5];
const GOLDEN = {
  id: "one",
  tokens: [1, 2, 3],
  logits: LOGITS,
  probabilities: softmax(LOGITS, 1),
  answer: { label: "b" },
  abstained: false,
};

function findDivergence(change, { golden = {}, facts = {}, tolerance = "exact", certificate = {} } = {}) {
  const limits = TOLERANCES[tolerance];
  const to = new Comparison(limits.locating);
  const honest = { ids: [1, 2, 3], logits: [LOGITS], probabilities: [softmax(LOGITS, 1)] };
  const { ids, ...made } = { ...honest, ...change };
  compareGolden({ ...GOLDEN, ...golden }, ids, made, { ...FACTS, ...facts }, limits, to);
  compareWhole(certificate, limits, to);
  return to.divergence;
}

for (const [name, expected, change, options] of [
  ["an honest form", null, {}],
  ["another id", "tokens", { ids: [1, 2, 4] }],
  ["a cut text", "tokens", { ids: [1, 2] }],
  ["other logits", "logits", { logits: [[1, 2.6]] }],
  ["no number", "logits", { logits: [[1, NaN]] }],
  ["a lost temperature", "probabilities", { probabilities: [softmax(LOGITS, 2)] }],
  ["differences that begin in the logits", "logits", { logits: [[1, 2.5004]], probabilities: [softmax([1, 2.6], 1)] }],
  ["many small differences", "probabilities", { probabilities: [softmax([1, 2.5003], 1)] }],
  ["one label more", "probabilities", { probabilities: [[0.1, 0.8, 0.1]] }],
  ["labels that changed places", "labels", {}, { facts: { labels: ["b", "a"] } }],
  ["another answer", "answer", {}, { facts: { operating_point: { thresholds: { a: 0.1 }, score: null, least: null } } }],
  ["an abstention that is gone", "answer", {}, { golden: { answer: null, abstained: true } }],
  ["half precision", null, { probabilities: [softmax([1, 2.53], 1)] }, { tolerance: "reduced" }],
  ["too far for half precision", "probabilities", { probabilities: [softmax([1, 3], 1)] }, { tolerance: "reduced" }],
  ["eight bits without evidence", "labels", {}, { tolerance: "quantised" }],
  [
    "eight bits with evidence",
    null,
    {},
    { tolerance: "quantised", certificate: { measured: { accuracy: { rows: 400, low: -0.004, margin: 0.005 } } } },
  ],
  [
    "eight bits whose certificate allows too much",
    "labels",
    {},
    { tolerance: "quantised", certificate: { measured: { accuracy: { rows: 400, low: -0.2, margin: 0.5 } } } },
  ],
]) {
  test(name, () => assert.equal(findDivergence(change, options), expected));
}

test("the quantile is one of the values", () => {
  const values = Array.from({ length: 200 }, (_, place) => place);
  assert.equal(quantile(values, 0.99), 198);
  assert.equal(quantile([3], 0.99), 3);
});
