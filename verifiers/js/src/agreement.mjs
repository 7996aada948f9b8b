// Where the folder's small files say another thing than the certificate.

import { dirname, join } from "node:path/posix";

import { readOptional } from "./certificate.mjs";
import { decides } from "./operating_point.mjs";

const STAGE_OF = { // where an answer goes wrong when a reader is told something else
  max_tokens: "tokens",
  pad_id: "tokens",
  pooling: "pooled",
  head: "logits",
  temperature: "probabilities",
  labels: "labels",
  task: "labels",
  operating_point: "answer",
  scope: "logits",
};

/** Note every disagreement at the stage that it would spoil. */
export function checkAgreement(folder, model, to) {
  const { facts, tokenizer, config } = model;
  const beside = dirname(facts.files.model);
  if (facts.max_tokens && tokenizer.maxTokens !== facts.max_tokens) {
    to.addProblem("tokens", `tokenizer.json cuts at ${tokenizer.maxTokens} tokens, the certificate says ${facts.max_tokens}`);
  }
  if (facts.max_tokens && config.model_max_length !== undefined && config.model_max_length !== facts.max_tokens) {
    to.addProblem("tokens", `tokenizer_config.json cuts at ${config.model_max_length} tokens, the certificate says ${facts.max_tokens}`);
  }
  const pad = tokenizer.idOf(config.pad_token?.content ?? config.pad_token);
  if (pad !== undefined && pad !== facts.pad_id) {
    to.addProblem("tokens", `the padding token is number ${pad}, the certificate says ${facts.pad_id}`);
  }
  for (const name of ["config.json", "labels.json"]) checkLabels(name, readOptional(folder, join(beside, name)), facts, to);
  checkPoint(readOptional(folder, "operating.json"), facts, to);
  for (const [key, stage] of Object.entries(STAGE_OF)) {
    if (key in model.ownFacts && key in facts && !agree(model.ownFacts[key], facts[key])) {
      to.addProblem(stage, `the graph says another ${key} than the certificate`);
    }
  }
}

/** Equal, numbers to six digits. */
function agree(found, expected) {
  if (typeof found === "number" && typeof expected === "number") {
    return Math.abs(found - expected) <= 1e-6 * Math.max(1, Math.abs(expected));
  }
  if (found === null || expected === null || typeof found !== "object" || typeof expected !== "object") return found === expected;
  const keys = Object.keys(found);
  return keys.length === Object.keys(expected).length && keys.every((key) => key in expected && agree(found[key], expected[key]));
}

function checkLabels(name, file, facts, to) {
  const named = file?.id2label ?? {};
  const labels = Object.keys(named).map((_, place) => named[place]);
  if (labels.length > 0 && JSON.stringify(labels) !== JSON.stringify(facts.labels)) {
    to.addProblem("labels", `${name} has the labels ${labels}, the certificate ${facts.labels}`);
  }
}

function checkPoint(point, facts, to) {
  if (point === undefined || (!decides(point) && !decides(facts.operating_point))) return;
  const simplify = ({ thresholds, score, least, rule }) =>
    JSON.stringify([Object.entries(thresholds ?? {}).sort(), score ?? null, least ?? null, rule]);
  if (!facts.operating_point || simplify(point) !== simplify(facts.operating_point)) {
    to.addProblem("answer", "operating.json has another operating point than the certificate");
  }
}
