// What was compared at each stage, over all goldens, and which stage a form that fails went astray in.

const STAGES = ["digest", "tokens", "embedding", "layer", "pooled", "logits", "probabilities", "labels", "answer", "batch"];
const NOT_LOCATED = new Set(["digest", "tokens", "answer", "batch"]);

export class Comparison {
  #stages = new Map();

  /** @param {number} locating a stage this far off is where a form went astray, once it is known that it did */
  constructor(locating) {
    this.locating = locating;
    this.largestDps = [];
  }

  at(stage) {
    if (!this.#stages.has(stage)) {
      this.#stages.set(stage, { stage, compared: 0, different: 0, difference: 0, tolerance: 0, golden: "" });
    }
    return this.#stages.get(stage);
  }

  /** Note a golden's difference at a stage; beyond the tolerance it counts as different. */
  addNumber(stage, golden, difference, tolerance) {
    const result = this.at(stage);
    const size = Number.isNaN(difference) ? Infinity : difference;
    result.tolerance = Math.max(result.tolerance, tolerance);
    if (size > result.difference || result.golden === "") Object.assign(result, { difference: size, golden });
    this.addGolden(stage, golden, size <= tolerance);
  }

  addGolden(stage, golden, same) {
    const result = this.at(stage);
    result.compared += 1;
    if (same) return;
    result.different += 1;
    result.golden ||= golden;
  }

  /** Note in words what differs; the first one stays. */
  addProblem(stage, problem) {
    this.at(stage).problem ??= problem;
  }

  get results() {
    return [...this.#stages.values()].sort((a, b) => placeOf(a.stage) - placeOf(b.stage));
  }

  /** The stage in which a form that fails went astray; null where nothing fails. */
  get divergence() {
    const failed = this.results.find((result) => result.different > 0 || result.problem);
    if (!failed) return null;
    if (NOT_LOCATED.has(failed.stage)) return failed.stage;
    const first = this.results.find((one) => one === failed || (one.tolerance > 0 && one.difference > this.locating));
    return first.stage;
  }
}

/** The stage of an entry of `layers`: 0 is what the embedding gives. */
export function nameLayer(place) {
  return place === 0 ? "embedding" : `layer ${place}`;
}

/** Where a stage stands in the model. */
function placeOf(stage) {
  const [kind, number = "0"] = stage.split(" ");
  return STAGES.indexOf(kind) + Number(number) / 1e6;
}

/** The smallest of the values that at least a share of them does not exceed. */
export function quantile(values, share) {
  if (values.length === 0) return 0;
  return [...values].sort((a, b) => a - b)[Math.ceil(share * (values.length - 1))];
}
