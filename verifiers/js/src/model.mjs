// An exported ONNX graph with its tokenizer: input_ids and attention_mask to logits and probabilities.

import { readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path/posix";
import * as ort from "onnxruntime-node";

import { locate, readOptional, UnreadableFolder } from "./certificate.mjs";
import { computeChecksum } from "./checksum.mjs";
import { readMetadata } from "./graph_metadata.mjs";
import { FolderTokenizer } from "./tokenizer.mjs";

const INPUTS = ["attention_mask", "input_ids"];
const LAYER_OUTPUT = "hidden_states."; // and a number
const FACTS_KEY = "loratory"; // of the graph's metadata

export class GraphModel {
  constructor(session, tokenizer, facts, { config, ownFacts }) {
    Object.assign(this, { session, tokenizer, facts, config, ownFacts });
    this.padLeft = config.padding_side === "left";
  }

  /** The model of a folder. Throws UnreadableFolder where this program does not run it. */
  static async open(folder, facts) {
    const { model, tokenizer } = facts.files ?? {};
    if (extname(String(model)) !== ".onnx") {
      throw new UnreadableFolder(`the model file ${model} is no ONNX graph: this form is not one that this program runs`);
    }
    const file = readOptional(folder, tokenizer);
    if (file === undefined) throw new UnreadableFolder(`${tokenizer} is not there`);
    const config = readOptional(folder, join(dirname(tokenizer), "tokenizer_config.json")) ?? {};
    try {
      const bytes = readFileSync(locate(folder, model));
      const session = await ort.InferenceSession.create(bytes, {
        executionProviders: ["cpu"],
        logSeverityLevel: 3,
        extra: { session: { disable_quant_qdq: "1" } }, // weights that are stored small are unpacked once
      });
      checkNames(session);
      const ownFacts = JSON.parse(readMetadata(bytes)[FACTS_KEY] ?? "{}");
      return new GraphModel(session, new FolderTokenizer(file, config, facts.max_tokens), facts, { config, ownFacts });
    } catch (problem) {
      throw problem instanceof UnreadableFolder ? problem : new UnreadableFolder(`${model}: ${problem.message}`);
    }
  }

  /** Ids of a text; one without a single token is one padding token. */
  encode(text) {
    const ids = this.tokenizer.encode(text);
    return ids.length > 0 ? ids : [this.facts.pad_id];
  }

  /** Of rows of ids, padded here to one length: checksums of layers and of the pooled state, logits (null where the
   * graph has none of them), and probabilities. */
  async run(rows) {
    const length = Math.max(...rows.map((row) => row.length));
    const ids = new BigInt64Array(rows.length * length).fill(BigInt(this.facts.pad_id));
    const mask = new BigInt64Array(rows.length * length);
    const starts = rows.map((row) => (this.padLeft ? length - row.length : 0));
    rows.forEach((row, number) =>
      row.forEach((id, place) => {
        const at = number * length + starts[number] + place;
        ids[at] = BigInt(id);
        mask[at] = 1n;
      }),
    );
    const shape = [rows.length, length];
    const made = await this.session.run({
      input_ids: new ort.Tensor("int64", ids, shape),
      attention_mask: new ort.Tensor("int64", mask, shape),
    });
    return rows.map((row, number) => this.#readRow(made, number, starts[number], row.length));
  }

  #readRow(made, number, start, tokens) {
    const read = (tensor) => (tensor ? readOutputs(tensor, number, start, tokens) : null);
    const logits = read(made.logits);
    const probabilities = read(made.probabilities) ?? logits.map((row) => softmax(row, this.facts.temperature ?? 1));
    const layers = [];
    for (let tensor; (tensor = made[`${LAYER_OUTPUT}${layers.length}`]); ) {
      layers.push(computeChecksum(readOutputs(tensor, number, start, tokens).flat(), tensor.dims.at(-1)));
    }
    const pooled = made.pooled ? computeChecksum(read(made.pooled)[0], made.pooled.dims.at(-1)) : null;
    return { layers: layers.length > 0 ? layers : null, pooled, logits, probabilities };
  }
}

function checkNames(session) {
  if (JSON.stringify([...session.inputNames].sort()) !== JSON.stringify(INPUTS)) {
    throw new UnreadableFolder(`the graph's inputs are ${session.inputNames}, and not ${INPUTS}`);
  }
  if (!session.outputNames.includes("probabilities") && !session.outputNames.includes("logits")) {
    throw new UnreadableFolder(`the graph's outputs are ${session.outputNames}: neither probabilities nor logits`);
  }
}

/** The outputs of one row: of [B, L] one list, of [B, T, L] a list for every real token. */
function readOutputs(tensor, number, start, tokens) {
  const width = tensor.dims.at(-1);
  const take = (at) => Array.from(tensor.data.subarray(at * width, (at + 1) * width), Number);
  if (tensor.dims.length === 2) return [take(number)];
  return Array.from({ length: tokens }, (_, place) => take(number * tensor.dims[1] + start + place));
}

/** Probabilities of logits at a temperature. */
export function softmax(logits, temperature) {
  const scaled = logits.map((value) => value / temperature);
  const top = Math.max(...scaled);
  const parts = scaled.map((value) => Math.exp(value - top));
  const sum = parts.reduce((a, b) => a + b, 0);
  return parts.map((part) => part / sum);
}
