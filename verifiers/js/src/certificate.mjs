// certificate.json, and the digests that it holds. Nothing of it is believed that can be computed.

import { createHash } from "node:crypto";
import { createReadStream, readFileSync, readdirSync } from "node:fs";
import { isAbsolute, join, normalize, sep } from "node:path";
import { pipeline } from "node:stream/promises";

import { canonicalise } from "./canonical.mjs";
import { TOLERANCES } from "./tolerances.mjs";

const CERTIFICATE_FILE = "certificate.json";
const MANIFEST_FILE = "manifest.json";

/** Raised where a folder cannot be read, or is of a form that this program does not run. */
export class UnreadableFolder extends Error {}

/** The certificate of a folder, and the digest that it should have. */
export function readCertificate(folder) {
  const text = readText(folder, CERTIFICATE_FILE);
  const certificate = parse(text, CERTIFICATE_FILE);
  if (certificate?.kind !== "loratory-certificate" || certificate.version !== 1) {
    throw new UnreadableFolder(`${CERTIFICATE_FILE} is no loratory-certificate of version 1`);
  }
  if (!Object.hasOwn(TOLERANCES, certificate.tolerance_class)) {
    throw new UnreadableFolder(`the tolerance class ${JSON.stringify(certificate.tolerance_class)} is not known`);
  }
  for (const key of ["model", "files", "goldens"]) {
    if (typeof certificate[key] !== "object" || certificate[key] === null) {
      throw new UnreadableFolder(`${CERTIFICATE_FILE} has no ${key}`);
    }
  }
  return { certificate, ownDigest: sha256(canonicalise(text, ["digest"])) };
}

/** Compare every file with its digest, and the certificate with its own. */
export async function checkDigests(folder, { certificate, ownDigest }, to) {
  const there = new Set(listFiles(folder));
  for (const [name, expected] of Object.entries(certificate.files)) {
    if (!there.delete(name)) {
      to.addGolden("digest", name, false);
      to.addProblem("digest", `the file ${name} is missing`);
      continue;
    }
    const same = (await digestFile(locate(folder, name))) === expected;
    to.addGolden("digest", name, same);
    if (!same) to.addProblem("digest", `the file ${name} is not the one that was certified`);
  }
  for (const name of there) to.addProblem("digest", `the file ${name} is not listed`);
  checkClaims(certificate, ownDigest, to);
}

function checkClaims(certificate, ownDigest, to) {
  if (ownDigest !== certificate.digest) to.addProblem("digest", "the certificate was changed: its own digest does not fit");
  const { file, sha256: digest } = certificate.goldens;
  if (!digest || certificate.files[file] !== digest) to.addProblem("digest", `the goldens have another digest than ${file}`);
  if (!certificate.passed) to.addProblem("digest", `the certificate says itself that this form failed, at ${certificate.stage}`);
  if (certificate.tolerance_class !== "exact" && !certificate.chain?.exact_member) {
    to.addProblem("digest", `a ${certificate.tolerance_class} form must name the exact member of its chain, and names none`);
  }
}

/** The goldens and the batches of goldens.jsonl. */
export function readGoldens(folder, name) {
  const lines = readText(folder, name).split("\n").filter((line) => line.trim() !== "");
  const rows = lines.map((line, at) => parse(line, `${name}, line ${at + 1}`));
  return { goldens: rows.filter((row) => row.kind !== "batch"), batches: rows.filter((row) => row.kind === "batch") };
}

/** A file of the folder as JSON; undefined where it is not there. */
export function readOptional(folder, name) {
  try {
    return parse(readFileSync(locate(folder, name), "utf8"), name);
  } catch (problem) {
    if (problem.code === "ENOENT") return undefined;
    throw problem;
  }
}

/** The path of a file that the certificate names; it must lie in the folder. */
export function locate(folder, name) {
  const clean = typeof name === "string" ? normalize(name) : "";
  if (!clean || isAbsolute(clean) || clean === ".." || clean.startsWith(`..${sep}`)) {
    throw new UnreadableFolder(`the certificate names the file ${JSON.stringify(name)}, which does not lie in the folder`);
  }
  return join(folder, clean);
}

function readText(folder, name) {
  try {
    return readFileSync(locate(folder, name), "utf8");
  } catch (problem) {
    if (problem instanceof UnreadableFolder) throw problem;
    throw new UnreadableFolder(`${name}: ${problem.message}`);
  }
}

function parse(text, name) {
  try {
    return JSON.parse(text);
  } catch (problem) {
    throw new UnreadableFolder(`${name}: ${problem.message}`);
  }
}

function listFiles(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.path, entry.name).slice(join(folder, "x").length - 1).split(sep).join("/"))
    .filter((name) => name !== CERTIFICATE_FILE && name !== MANIFEST_FILE);
}

function sha256(text) {
  return createHash("sha256").update(text, "utf8").digest("hex");
}

async function digestFile(file) {
  const sum = createHash("sha256");
  await pipeline(createReadStream(file), sum);
  return sum.digest("hex");
}
