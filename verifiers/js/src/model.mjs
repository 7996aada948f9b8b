// An exported ONNX graph with its tokenizer: input_ids and attention_mask to logits and probabilities.

import { dirname, extname, join } from "node:path/posix";
import * as ort from "onnxruntime-node";

import { locate, readOptional, UnreadableFolder } from "./certificate.mjs";
import { FolderTokenizer } from "./tokenizer.mjs";

const INPUTS = ["attention_mask", "input_ids"];

export class GraphModel {
  constructor(session, tokenizer, facts, config) {
    Object.assign(this, { session, tokenizer, facts, config });
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
      const session = await ort.InferenceSession.create(locate(folder, model), {
        executionProviders: ["cpu"],
        intraOpNumThreads: 0,
        logSeverityLevel: 3,
      });
      checkNames(session);
      return new GraphModel(session, new FolderTokenizer(file, config, facts.max_tokens), facts, config);
    } catch (problem) {
      throw problem instanceof UnreadableFolder ? problem : new UnreadableFolder(`${model}: ${problem.message}`);
    }
  }

  /** Ids of a text; one without a single token is one padding token. */
  encode(text) {
    const ids = this.tokenizer.encode(text);
    return ids.length > 0 ? ids : [this.facts.pad_id];
  }

  /** Logits (null where the graph has none) and probabilities of rows of ids, padded here to one length. */
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
    return { logits, probabilities };
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
  const values = Array.from(tensor.data, Number);
  const width = tensor.dims.at(-1);
  const take = (at) => values.slice(at * width, (at + 1) * width);
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
