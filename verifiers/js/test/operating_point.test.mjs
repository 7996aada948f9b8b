import assert from "node:assert/strict";
import { test } from "node:test";

import { chooseLabel, decides } from "../src/operating_point.mjs";

const LABELS = ["a", "b", "c"];
const POINT = { temperature: 1, thresholds: {}, score: null, least: null, rule: "odds" };

for (const [name, point, probabilities, expected] of [
  ["no point", null, [0.2, 0.5, 0.3], 1],
  ["a point that decides nothing", POINT, [0.2, 0.5, 0.3], 1],
  ["a threshold that is reached", { ...POINT, thresholds: { a: 0.1 } }, [0.2, 0.5, 0.3], 0],
  ["a threshold that is not", { ...POINT, thresholds: { b: 0.6 } }, [0.2, 0.5, 0.3], 2],
  ["the larger odds ratio", { ...POINT, thresholds: { a: 0.05, b: 0.4 } }, [0.2, 0.5, 0.3], 0],
  ["the larger share", { ...POINT, rule: "share", thresholds: { a: 0.05, b: 0.4 } }, [0.2, 0.5, 0.3], 1],
  ["none of all thresholds", { ...POINT, thresholds: { a: 0.9, b: 0.9, c: 0.9 } }, [0.2, 0.5, 0.3], -1],
  ["too little confidence", { ...POINT, score: "confidence", least: 0.6 }, [0.2, 0.5, 0.3], -1],
  ["enough margin", { ...POINT, score: "margin", least: 0.15 }, [0.2, 0.5, 0.3], 1],
  ["too much entropy", { ...POINT, score: "entropy", least: -0.5 }, [0.2, 0.5, 0.3], -1],
]) {
  test(name, () => assert.equal(chooseLabel(point, LABELS, probabilities, [1, 2, 1.5], null), expected));
}

test("energy and prototype are read from the logits", () => {
  const at = (score, least) => chooseLabel({ ...POINT, score, least }, LABELS, [0.2, 0.5, 0.3], [1, 2, 1.5], { scale: 2, bias: [0, 0, 0] });
  assert.deepEqual([at("energy", 2.6), at("energy", 2.7)], [1, -1]); // log(e + e^2 + e^1.5) = 2.680
  assert.deepEqual([at("prototype", 0.99), at("prototype", 1.01)], [1, -1]);
});

test("a point without thresholds and score decides nothing", () => {
  assert.equal(decides(POINT), false);
  assert.equal(decides({ ...POINT, score: "margin", least: 0.1 }), true);
});
