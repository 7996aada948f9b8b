package main

import (
	"fmt"
	"math"
)

// Head turns the last states of a text into logits: one row of a text, or a row for every token.
type Head interface {
	// apply gives the pooled state, where there is one, and the logits; states [T, D] of real tokens alone.
	apply(states []float32, tokens int) (pooled []float32, logits [][]float64)
}

// pooledHead gives scale * cosine to the prototype of each label + bias.
type pooledHead struct {
	pooling    string
	prototypes *Tensor // [L, D]
	scale      float64
	bias       []float32
}

func (h *pooledHead) apply(states []float32, tokens int) ([]float32, [][]float64) {
	labels, width := h.prototypes.size()
	pooled := poolStates(states, tokens, width, h.pooling)
	logits, own := make([]float64, labels), vectorLength(pooled)
	for label := range logits {
		prototype := h.prototypes.Data[label*width : (label+1)*width]
		var product float64
		for d, v := range prototype {
			product += float64(v) * float64(pooled[d])
		}
		logits[label] = h.scale*product/(own*vectorLength(prototype)) + float64(h.bias[label])
	}
	return pooled, [][]float64{logits}
}

// vectorLength is the Euclidean length, never 0: as torch's normalize has it.
func vectorLength(vector []float32) float64 {
	var sum float64
	for _, v := range vector {
		sum += float64(v) * float64(v)
	}
	return math.Max(math.Sqrt(sum), 1e-12)
}

// poolStates makes one vector [D] of states [T, D].
func poolStates(states []float32, tokens, width int, pooling string) []float32 {
	switch pooling {
	case "cls":
		return states[:width]
	case "last":
		return states[(tokens-1)*width : tokens*width]
	}
	pooled := make([]float32, width)
	for d := range pooled {
		sum, top := 0.0, math.Inf(-1)
		for t := 0; t < tokens; t++ {
			v := float64(states[t*width+d])
			sum, top = sum+v, math.Max(top, v)
		}
		pooled[d] = float32(sum / float64(tokens))
		if pooling == "max" {
			pooled[d] = float32(top)
		}
	}
	return pooled
}

// stockHead is that of the stock sequence classifiers: a layer on the first token's state, a function, and a layer.
type stockHead struct {
	dense, out Matrix
	activate   func(float64) float64
	width      int
}

func (h *stockHead) apply(states []float32, tokens int) ([]float32, [][]float64) {
	inner := h.dense.apply(states[:h.width], 1)
	for i, v := range inner {
		inner[i] = float32(h.activate(float64(v)))
	}
	return nil, [][]float64{toFloat64(h.out.apply(inner, 1))}
}

// tokenHead is one layer on every token's state.
type tokenHead struct {
	out   Matrix
	width int
}

func (h *tokenHead) apply(states []float32, tokens int) ([]float32, [][]float64) {
	flat, logits := h.out.apply(states[:tokens*h.width], tokens), make([][]float64, tokens)
	for t := range logits {
		logits[t] = toFloat64(flat[t*h.out.Outputs : (t+1)*h.out.Outputs])
	}
	return nil, logits
}

func toFloat64(values []float32) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

// buildHead finds the head in the head's own file, or among the weights of a stock classifier.
func buildHead(kind, pooling string, own, model map[string]*Tensor, config *ModelConfig) (Head, error) {
	switch kind {
	case "pooled":
		return buildPooledHead(pooling, own, config.Width)
	case "token":
		tensors := own
		if len(tensors) == 0 {
			tensors = model
		}
		return buildTokenHead(tensors, config.Width)
	case "stock":
		return buildStockHead(model, config)
	}
	return nil, fmt.Errorf("a head of the kind %q is not implemented here; pooled, stock and token are", kind)
}

func buildPooledHead(pooling string, tensors map[string]*Tensor, width int) (Head, error) {
	switch pooling {
	case "mean", "cls", "max", "last":
	default:
		return nil, fmt.Errorf("the pooling %q is not implemented here; mean, cls, max and last are", pooling)
	}
	reader := &weightReader{tensors: tensors}
	prototypes := reader.take("prototypes", 2, width)
	bias := reader.take("bias", 1, prototypes.Shape[0])
	logScale := tensors["log_scale"]
	if logScale == nil || len(logScale.Data) != 1 {
		return nil, fmt.Errorf("the head lacks log_scale")
	}
	return &pooledHead{pooling, prototypes, math.Exp(float64(logScale.Data[0])), bias.Data}, reader.problem
}

func buildTokenHead(tensors map[string]*Tensor, width int) (Head, error) {
	reader := &weightReader{tensors: tensors}
	return &tokenHead{reader.linear("classifier", width), width}, reader.problem
}

func buildStockHead(tensors map[string]*Tensor, config *ModelConfig) (Head, error) {
	reader, width := &weightReader{tensors: tensors}, config.Width
	head := &stockHead{activate: math.Tanh, width: width}
	inner, outer := "bert.pooler.dense", "classifier"
	switch config.Family {
	case "roberta", "xlm-roberta":
		inner, outer = "classifier.dense", "classifier.out_proj"
	case "distilbert":
		inner = "pre_classifier"
		head.activate = func(v float64) float64 { return math.Max(v, 0) }
	}
	if tensors[inner+".weight"] == nil && tensors[outer+".weight"] != nil {
		return buildTokenHead(tensors, width) // the stock classifier of tokens
	}
	head.dense, head.out = reader.linear(inner, width), reader.linear(outer, width)
	return head, reader.problem
}
