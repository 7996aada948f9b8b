import assert from "node:assert/strict";
import { test } from "node:test";

import { compareGolden, compareWhole } from "../src/compare.mjs";
import { computeChecksum } from "../src/checksum.mjs";
import { readMetadata } from "../src/graph_metadata.mjs";
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
  const honest = { ids: [1, 2, 3], layers: null, pooled: null, logits: [LOGITS], probabilities: [softmax(LOGITS, 1)] };
  const { ids, ...made } = { ...honest, ...change };
  compareGolden({ ...GOLDEN, ...golden }, ids, made, { ...FACTS, ...facts }, limits, to);
  compareWhole(certificate, limits, to);
  return to.divergence;
}

for (const [name, expected, change, options] of [
  ["an honest form", null, {}],
  ["other states", "layer 1", { layers: [[1, 2, 3, 4], [1.1, 2, 3, 4]] }, { golden: { layers: [[1, 2, 3, 4], [1, 2, 3, 4]] } }],
  ["a layer less", "layer 1", { layers: [[1, 2, 3, 4]] }, { golden: { layers: [[1, 2, 3, 4], [1, 2, 3, 4]] } }],
  ["another pooling", "pooled", { pooled: [1, 2, 3, 4] }, { golden: { pooled: [1, 2, 3, 5] } }],
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

test("the checksum is that of its formula", () => {
  const states = [0.5, -1, 2, 0.25, 3, -0.125]; // T = 2, D = 3
  computeChecksum(states, 3).forEach((found, place) => {
    const k = place + 1;
    const terms = states.map((value, at) => value * Math.cos(0.7 * k * (Math.floor(at / 3) + 1) + 0.31 * (2 * k + 1) * ((at % 3) + 1)));
    const expected = terms.reduce((a, b) => a + b) / Math.sqrt(6);
    assert.ok(Math.abs(found - expected) < 1e-12, `c_${k}: ${found}, expected ${expected}`);
  });
});

test("metadata of a graph", () => {
  const entry = [0x0a, 1, 0x61, 0x12, 2, 0xc3, 0xa9]; // key "a", value "é"
  const bytes = Uint8Array.from([0x08, 0x0a, 0x3a, 2, 1, 2, 0x72, entry.length, ...entry]); // ir_version, graph, metadata
  assert.deepEqual(readMetadata(bytes), { a: "é" });
  assert.throws(() => readMetadata(bytes.subarray(0, bytes.length - 1)), RangeError);
});

test("the quantile is one of the values", () => {
  const values = Array.from({ length: 200 }, (_, place) => place);
  assert.equal(quantile(values, 0.99), 198);
  assert.equal(quantile([3], 0.99), 3);
});
