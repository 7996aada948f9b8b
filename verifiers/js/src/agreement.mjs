// Where the folder's small files say another thing than the certificate.

import { dirname, join } from "node:path/posix";

import { readOptional } from "./certificate.mjs";
import { decides } from "./operating_point.mjs";

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
