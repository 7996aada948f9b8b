// Four numbers that stand for a matrix of hidden states.

const TERMS = 4;

/** c_k = sum_{t,d} H[t,d] cos(0.7 k (t+1) + 0.31 (2k+1) (d+1)) / sqrt(T D), k = 1..4, of states [T, D] in one list. */
export function computeChecksum(states, width) {
  const tokens = states.length / width;
  return Array.from({ length: TERMS }, (_, place) => {
    const k = place + 1;
    const columns = Array.from({ length: width }, (_, d) => 0.31 * (2 * k + 1) * (d + 1));
    const [cosines, sines] = [columns.map(Math.cos), columns.map(Math.sin)]; // the cosine of a sum, taken apart
    let sum = 0;
    for (let t = 0; t < tokens; t += 1) {
      let [real, imaginary] = [0, 0];
      for (let d = 0; d < width; d += 1) {
        real += states[t * width + d] * cosines[d];
        imaginary += states[t * width + d] * sines[d];
      }
      const angle = 0.7 * k * (t + 1);
      sum += Math.cos(angle) * real - Math.sin(angle) * imaginary;
    }
    return sum / Math.sqrt(tokens * width);
  });
}
