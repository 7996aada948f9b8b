// Recompute the certificate of an exported ONNX model.

import { checkAgreement } from "./agreement.mjs";
import { checkDigests, readCertificate, readGoldens } from "./certificate.mjs";
import { compareGolden, compareRows, compareWhole } from "./compare.mjs";
import { GraphModel } from "./model.mjs";
import { Comparison } from "./stages.mjs";
import { TOLERANCES } from "./tolerances.mjs";

const [MIN_GOLDENS, MIN_BATCHES] = [8, 2];

/** The certificate of a folder, and what was compared. Throws UnreadableFolder. */
export async function verify(folder) {
  const read = readCertificate(folder);
  const { certificate } = read;
  const limits = TOLERANCES[certificate.tolerance_class];
  const to = new Comparison(limits.locating);
  await checkDigests(folder, read, to);
  if (to.divergence !== null) return { certificate, comparison: to }; // what has another digest is not opened
  const { goldens, batches } = readGoldens(folder, certificate.goldens.file);
  checkCounts(certificate.goldens, goldens, batches, to);
  const model = await GraphModel.open(folder, certificate.model);
  checkAgreement(folder, model, to);
  const alone = await runGoldens(model, goldens, limits, to);
  compareWhole(certificate, limits, to);
  if (certificate.model.max_batch !== 1) await runBatches(model, batches, alone, limits, to);
  return { certificate, comparison: to };
}

function checkCounts(claimed, goldens, batches, to) {
  if (goldens.length < MIN_GOLDENS || batches.length < MIN_BATCHES) {
    to.addProblem("digest", `${goldens.length} goldens in ${batches.length} batches prove nothing`);
  }
  if (goldens.length !== claimed.count || batches.length !== claimed.batches) {
    to.addProblem(
      "digest",
      `${goldens.length} goldens and ${batches.length} batches, and the certificate counts ${claimed.count} and ${claimed.batches}`,
    );
  }
}

/** Run every golden alone; gives its ids and probabilities by its name. */
async function runGoldens(model, goldens, limits, to) {
  const alone = new Map();
  for (const golden of goldens) {
    const ids = model.encode(golden.text);
    try {
      const [made] = await model.run([ids]);
      alone.set(golden.id, { ids, probabilities: made.probabilities });
      compareGolden(golden, ids, made, model.facts, limits, to);
    } catch (problem) { // an id or a position that the graph has no row for
      to.addProblem("logits", `${golden.id}: ${problem.message.split("\n")[0]}`);
    }
  }
  return alone;
}

/** Pad the members of each batch here, and compare what each is in company with what it is alone. */
async function runBatches(model, batches, alone, limits, to) {
  for (const batch of batches) {
    const members = batch.members.filter((name) => alone.has(name));
    if (members.length < batch.members.length) to.addProblem("batch", `${batch.id} names a text that was not run`);
    if (members.length === 0) continue;
    const made = await model.run(members.map((name) => alone.get(name).ids));
    members.forEach((name, place) => {
      const difference = compareRows(alone.get(name).probabilities, made[place].probabilities, (a, b) => Math.abs(a - b));
      to.addNumber("batch", `${batch.id}/${name}`, difference, limits.batch);
    });
  }
}
