#!/usr/bin/env node
// node verify.mjs [--json] FOLDER: recompute the certificate of an exported ONNX model, without Python.
//
// It ends with 0 where every stage is within this program's tolerance, 1 where one is not, and 2 where the folder cannot
// be read or is of a form that this program does not run.

import { parseArgs } from "node:util";

import { UnreadableFolder } from "./src/certificate.mjs";
import { renderJson, renderTable } from "./src/report.mjs";
import { verify } from "./src/verify.mjs";

const USAGE = "node verify.mjs [--json] FOLDER: recompute the certificate of an exported ONNX model";

async function main(argv) {
  const { values, positionals } = parseArgs({ args: argv, options: { json: { type: "boolean" } }, allowPositionals: true });
  if (positionals.length !== 1) throw new UnreadableFolder(USAGE);
  const { certificate, comparison } = await verify(positionals[0]);
  console.log(values.json ? renderJson(certificate, comparison) : renderTable(certificate, comparison));
  return comparison.divergence === null ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (problem) {
  console.error(`cannot verify: ${problem.message}`);
  process.exitCode = 2;
}
