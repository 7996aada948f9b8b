// What this program grants a class of forms. It is never read from the folder.
// Checksums of states and logits count in units of max(1, |expected|); labelMargin: labels may differ where the two likeliest are nearer.

export const TOLERANCES = {
  exact: { states: 1e-3, locating: 1e-4, probability: 1e-4, quantile: 2e-5, batch: 1e-4, labelMargin: 2e-4, byEvidence: false },
  reduced: { states: 5e-2, locating: 3e-3, probability: 2e-2, quantile: 1e-2, batch: 2e-3, labelMargin: 2e-2, byEvidence: false },
  quantised: { states: Infinity, locating: 0.3, probability: 1, quantile: 0.35, batch: 1e-2, labelMargin: 1, byEvidence: true },
};
export const MAX_MARGIN = 0.05; // the most that a quantised form may lose of its accuracy, whatever its certificate allows
