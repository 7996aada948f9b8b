package main

import (
	"fmt"
	"math"
)

// Encoder is a BERT-like encoder: embeddings, and layers that normalise behind each of their two halves.
type Encoder struct {
	Config    *ModelConfig
	words     *Tensor // [V, D]
	positions *Tensor // [P, D]
	types     *Tensor // [2, D]; nil where there are none
	norm      layerNorm
	layers    []encoderLayer
	activate  func(float32) float32
}

type encoderLayer struct {
	query, key, value, output, up, down Matrix
	attentionNorm, outputNorm           layerNorm
}

type layerNorm struct {
	weight, bias []float32
	epsilon      float64
}

// apply normalises each row in place; mean and variance are summed in float64.
func (n *layerNorm) apply(states []float32) {
	width := len(n.weight)
	for start := 0; start < len(states); start += width {
		row := states[start : start+width]
		var sum, squares float64
		for _, v := range row {
			sum += float64(v)
		}
		mean := sum / float64(width)
		for _, v := range row {
			squares += (float64(v) - mean) * (float64(v) - mean)
		}
		scale := 1 / math.Sqrt(squares/float64(width)+n.epsilon)
		for i, v := range row {
			row[i] = float32((float64(v)-mean)*scale)*n.weight[i] + n.bias[i]
		}
	}
}

// outOfRange says that an id or a position has no row in its table.
type outOfRange struct{ what string }

func (e outOfRange) Error() string { return e.what }

// tokenRow is a row of ids; those from First up to Last are real, the others padding.
type tokenRow struct {
	IDs         []int
	First, Last int
}

func wholeRow(ids []int) tokenRow { return tokenRow{ids, 0, len(ids)} }

// position of a token: BERT counts from the beginning of the row, RoBERTa the real tokens alone.
func (e *Encoder) position(row tokenRow, t int) int {
	if e.Config.positionBase == 0 {
		return t
	}
	if t < row.First || t >= row.Last {
		return e.Config.PadID
	}
	return e.Config.positionBase + t - row.First
}

// embed gives states [T, D] of a row of ids, normalised.
func (e *Encoder) embed(tokens tokenRow) ([]float32, error) {
	width := e.Config.Width
	states := make([]float32, len(tokens.IDs)*width)
	for t, id := range tokens.IDs {
		position := e.position(tokens, t)
		if id < 0 || id >= e.words.Shape[0] {
			return nil, outOfRange{fmt.Sprintf("token id %d, and the embedding has %d rows", id, e.words.Shape[0])}
		}
		if position >= e.positions.Shape[0] {
			return nil, outOfRange{fmt.Sprintf("position %d, and the model has %d", position, e.positions.Shape[0])}
		}
		row := states[t*width : (t+1)*width]
		for d := range row {
			row[d] = e.words.Data[id*width+d] + e.positions.Data[position*width+d]
			if e.types != nil {
				row[d] += e.types.Data[d]
			}
		}
	}
	e.norm.apply(states)
	return states, nil
}

// run calls visit with the states [T, D] of the embedding and of every layer, padding included, and returns the last.
func (e *Encoder) run(row tokenRow, visit func(layer int, states []float32)) ([]float32, error) {
	states, err := e.embed(row)
	if err != nil {
		return nil, err
	}
	visit(0, states)
	for i := range e.layers {
		states = e.runLayer(&e.layers[i], states, row)
		visit(i+1, states)
	}
	return states, nil
}

func (e *Encoder) runLayer(layer *encoderLayer, states []float32, row tokenRow) []float32 {
	rows := len(row.IDs)
	query, key, value := layer.query.apply(states, rows), layer.key.apply(states, rows), layer.value.apply(states, rows)
	context := e.attend(query, key, value, row)
	attended := layer.output.apply(context, rows)
	addTo(attended, states)
	layer.attentionNorm.apply(attended)
	inner := layer.up.apply(attended, rows)
	for i, v := range inner {
		inner[i] = e.activate(v)
	}
	out := layer.down.apply(inner, rows)
	addTo(out, attended)
	layer.outputNorm.apply(out)
	return out
}

func addTo(to, values []float32) {
	for i, v := range values {
		to[i] += v
	}
}

// attend is scaled dot-product attention of every head, over the keys of real tokens.
func (e *Encoder) attend(query, key, value []float32, row tokenRow) []float32 {
	rows, real := len(row.IDs), row.Last-row.First
	width, size := e.Config.Width, e.Config.Width/e.Config.Heads
	scale := 1 / math.Sqrt(float64(size))
	out, scores := make([]float32, rows*width), make([]float64, real)
	key, value = key[row.First*width:], value[row.First*width:]
	for first := 0; first < width; first += size {
		for t := 0; t < rows; t++ {
			q := query[t*width+first : t*width+first+size]
			for s := range scores {
				scores[s] = float64(dot(q, key[s*width+first:s*width+first+size])) * scale
			}
			to := out[t*width+first : t*width+first+size]
			for s, share := range softmax(scores) {
				weight, v := float32(share), value[s*width+first:s*width+first+size]
				for d := range to {
					to[d] += weight * v[d]
				}
			}
		}
	}
	return out
}

func chooseActivation(name string) (func(float32) float32, error) {
	switch name {
	case "gelu":
		return func(x float32) float32 { return float32(float64(x) * 0.5 * (1 + math.Erf(float64(x)/math.Sqrt2))) }, nil
	case "gelu_new", "gelu_pytorch_tanh":
		return func(x float32) float32 {
			v := float64(x)
			return float32(0.5 * v * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(v+0.044715*v*v*v))))
		}, nil
	case "relu":
		return func(x float32) float32 {
			if x < 0 {
				return 0
			}
			return x
		}, nil
	}
	return nil, fmt.Errorf("the activation %q is not implemented here", name)
}
