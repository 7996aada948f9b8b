package main

import "math"

const checksumCount = 4

// checksum gives c_k = sum_{t,d} H[t,d] cos(0.7 k (t+1) + 0.31 (2k+1) (d+1)) / sqrt(T D) of states H [T, D], k = 1..4,
// in float64. The cosine of a sum is taken apart, so that each cosine is computed once.
func checksum(states []float32, width int) []float64 {
	tokens := len(states) / width
	sums := make([]float64, checksumCount)
	cosines, sines := make([]float64, width), make([]float64, width)
	for k := 1; k <= checksumCount; k++ {
		for d := range cosines {
			sines[d], cosines[d] = math.Sincos(0.31 * float64(2*k+1) * float64(d+1))
		}
		for t := 0; t < tokens; t++ {
			var real, imaginary float64
			for d, v := range states[t*width : (t+1)*width] {
				real += float64(v) * cosines[d]
				imaginary += float64(v) * sines[d]
			}
			sine, cosine := math.Sincos(0.7 * float64(k) * float64(t+1))
			sums[k-1] += cosine*real - sine*imaginary
		}
		sums[k-1] /= math.Sqrt(float64(tokens * width))
	}
	return sums
}
