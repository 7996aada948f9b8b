// The result as a table for people, or as one JSON object.

const HEADING = ["stage", "compared", "different", "largest", "tolerated", "where"];

export function renderTable(certificate, comparison) {
  const lines = [
    `format ${certificate.format}, class ${certificate.tolerance_class}, family ${certificate.model.family}, head ${certificate.model.head}`,
    align(HEADING),
  ];
  for (const one of comparison.results) {
    const show = (value) => (one.tolerance > 0 ? value.toExponential(2) : "-");
    lines.push(align([one.stage, one.compared, one.different, show(one.difference), show(one.tolerance), one.golden]));
    if (one.notChecked) lines.push(`               not compared: ${one.notChecked}`);
    if (one.problem) lines.push(`               ${one.problem}`);
  }
  const stage = comparison.divergence;
  lines.push(stage ? `REFUSED: the first stage that differs is ${stage}` : "passed: every stage is within the tolerance");
  return lines.join("\n");
}

function align([stage, compared, different, largest, tolerated, where]) {
  const cells = [[compared, 9], [different, 10], [largest, 12], [tolerated, 10]];
  return `${stage.padEnd(14)} ${cells.map(([cell, width]) => String(cell).padStart(width)).join(" ")}  ${where}`.trimEnd();
}

export function renderJson(certificate, comparison) {
  const finite = (value) => Math.min(value, Number.MAX_VALUE); // JSON has no infinity
  const stages = comparison.results.map((one) => ({ ...one, difference: finite(one.difference), tolerance: finite(one.tolerance) }));
  const { format, tolerance_class } = certificate;
  const stage = comparison.divergence;
  return JSON.stringify({ verifier: "js", format, tolerance_class, passed: stage === null, stage, stages });
}
