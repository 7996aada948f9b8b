// Which answer is given at which probabilities.

const MIN_PROBABILITY = 1e-30;
const MAX_PROBABILITY = 1 - 1e-15;

/** Whether an operating point changes any answer: thresholds, or a score below which none is given. */
export function decides(point) {
  return Boolean(point) && (Object.keys(point.thresholds ?? {}).length > 0 || (point.score != null && point.least != null));
}

/** The place of the label that is answered, or -1 for no answer. scope: scale and bias of a pooled head. */
export function chooseLabel(point, labels, probabilities, logits, scope) {
  if (!decides(point)) return argmax(probabilities);
  if (point.score != null && point.least != null && scoreScope(point.score, probabilities, logits, scope) < point.least) {
    return -1;
  }
  const limits = labels.map((label) => point.thresholds?.[label]);
  const places = labels.map((_, place) => place);
  const reached = places.filter((place) => limits[place] !== undefined && probabilities[place] >= limits[place]);
  if (reached.length > 0) {
    const lead = (place) => (point.rule === "odds" ? oddsRatio(probabilities[place], limits[place]) : probabilities[place]);
    return pickLargest(reached, lead);
  }
  return pickLargest(places.filter((place) => limits[place] === undefined), (place) => probabilities[place]);
}

function pickLargest(places, valueOf) {
  return places.reduce((best, place) => (best < 0 || valueOf(place) > valueOf(best) ? place : best), -1);
}

function scoreScope(name, probabilities, logits, scope) {
  const [first, second = 0] = [...probabilities].sort((a, b) => b - a);
  switch (name) {
    case "confidence":
      return first;
    case "margin":
      return first - second;
    case "entropy":
      return probabilities.reduce((sum, p) => sum + p * Math.log(Math.max(p, MIN_PROBABILITY)), 0);
    case "energy":
      return logSumExp(logits);
    case "prototype":
      return scope ? Math.max(...logits.map((value, place) => (value - scope.bias[place]) / scope.scale)) : NaN;
    default:
      return NaN;
  }
}

function logSumExp(values) {
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

function oddsRatio(probability, limit) {
  const [p, q] = [probability, limit].map((value) => Math.min(Math.max(value, MIN_PROBABILITY), MAX_PROBABILITY));
  return (p * (1 - q)) / ((1 - p) * q);
}

/** The first place of the largest value. */
export function argmax(values) {
  return values.reduce((best, value, place) => (value > values[best] ? place : best), 0);
}
