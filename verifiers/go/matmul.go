package main

import "math"

// Matrix holds the rows of a linear layer as PyTorch does: [outputs, inputs], and its bias.
type Matrix struct {
	Outputs, Inputs int
	Weight, Bias    []float32
}

// apply computes out[rows, Outputs] = x[rows, Inputs] Weight^T + Bias, four rows by two outputs at a time.
func (m *Matrix) apply(x []float32, rows int) []float32 {
	out := make([]float32, rows*m.Outputs)
	row := 0
	for ; row+4 <= rows; row += 4 {
		m.applyFour(x[row*m.Inputs:(row+4)*m.Inputs], out[row*m.Outputs:])
	}
	for ; row < rows; row++ {
		one := x[row*m.Inputs : (row+1)*m.Inputs]
		for j := 0; j < m.Outputs; j++ {
			out[row*m.Outputs+j] = dot(one, m.Weight[j*m.Inputs:(j+1)*m.Inputs]) + m.biasAt(j)
		}
	}
	return out
}

func (m *Matrix) biasAt(j int) float32 {
	if m.Bias == nil {
		return 0
	}
	return m.Bias[j]
}

func (m *Matrix) applyFour(x, out []float32) {
	k, n := m.Inputs, m.Outputs
	x0, x1, x2, x3 := x[:k], x[k:2*k], x[2*k:3*k], x[3*k:4*k]
	j := 0
	for ; j+2 <= n; j += 2 {
		a, b := m.Weight[j*k:(j+1)*k], m.Weight[(j+1)*k:(j+2)*k]
		var a0, a1, a2, a3, b0, b1, b2, b3 float32
		x1, x2, x3, b := x1[:len(x0)], x2[:len(x0)], x3[:len(x0)], b[:len(x0)]
		a = a[:len(x0)]
		for i, v0 := range x0 {
			wa, wb, v1, v2, v3 := a[i], b[i], x1[i], x2[i], x3[i]
			a0 += v0 * wa
			b0 += v0 * wb
			a1 += v1 * wa
			b1 += v1 * wb
			a2 += v2 * wa
			b2 += v2 * wb
			a3 += v3 * wa
			b3 += v3 * wb
		}
		ba, bb := m.biasAt(j), m.biasAt(j+1)
		out[j], out[j+1] = a0+ba, b0+bb
		out[n+j], out[n+j+1] = a1+ba, b1+bb
		out[2*n+j], out[2*n+j+1] = a2+ba, b2+bb
		out[3*n+j], out[3*n+j+1] = a3+ba, b3+bb
	}
	for ; j < n; j++ {
		w := m.Weight[j*k : (j+1)*k]
		for i, one := range [4][]float32{x0, x1, x2, x3} {
			out[i*n+j] = dot(one, w) + m.biasAt(j)
		}
	}
}

// dot sums in four parts, which is both faster and nearer to the exact sum than one.
func dot(x, y []float32) float32 {
	var s0, s1, s2, s3 float32
	y = y[:len(x)]
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s0 += x[i] * y[i]
		s1 += x[i+1] * y[i+1]
		s2 += x[i+2] * y[i+2]
		s3 += x[i+3] * y[i+3]
	}
	for ; i < len(x); i++ {
		s0 += x[i] * y[i]
	}
	return (s0 + s1) + (s2 + s3)
}

// softmax over float64, stable.
func softmax(values []float64) []float64 {
	top := math.Inf(-1)
	for _, v := range values {
		top = math.Max(top, v)
	}
	out, sum := make([]float64, len(values)), 0.0
	for i, v := range values {
		out[i] = math.Exp(v - top)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}
