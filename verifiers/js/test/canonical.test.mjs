import assert from "node:assert/strict";
import { test } from "node:test";

import { canonicalise } from "../src/canonical.mjs";

for (const [text, expected] of [
  ['{"b": 1.0, "a": [true, null, -2e-05]}', '{"a":[true,null,-2e-05],"b":1.0}'],
  ['{"é": "\\u00e9\\n\\u0001/", "\\ud83d\\ude00": {}}', '{"é":"é\\n\\u0001/","😀":{}}'],
  ['{"\\uffee": 1, "\\ud83d\\ude00": 2}', '{"\uffee":1,"😀":2}'], // by code points, not by 16-bit units
  ["[ ]", "[]"],
]) {
  test(`canonical form of ${text}`, () => assert.equal(canonicalise(text), expected));
}

test("keys that are left out are those of the outer object alone", () => {
  assert.equal(canonicalise('{"digest": "x", "a": {"digest": 1}}', ["digest"]), '{"a":{"digest":1}}');
});

for (const text of ['{"a": }', '{"a": 1} 2', "[1, ]", '{"a" 1}', "nul", ""]) {
  test(`no JSON: ${text}`, () => assert.throws(() => canonicalise(text), SyntaxError));
}
