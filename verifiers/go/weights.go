package main

import (
	"fmt"
	"strings"
)

// weightNames are the names of an encoder's parts in a family; %d is the layer.
type weightNames struct {
	embeddingNorm                       string
	query, key, value, output, up, down string
	attentionNorm, outputNorm           string
	typed                               bool
}

var bertNames = weightNames{
	embeddingNorm: "embeddings.LayerNorm",
	query:         "encoder.layer.%d.attention.self.query",
	key:           "encoder.layer.%d.attention.self.key",
	value:         "encoder.layer.%d.attention.self.value",
	output:        "encoder.layer.%d.attention.output.dense",
	attentionNorm: "encoder.layer.%d.attention.output.LayerNorm",
	up:            "encoder.layer.%d.intermediate.dense",
	down:          "encoder.layer.%d.output.dense",
	outputNorm:    "encoder.layer.%d.output.LayerNorm",
	typed:         true,
}

var distilNames = weightNames{
	embeddingNorm: "embeddings.LayerNorm",
	query:         "transformer.layer.%d.attention.q_lin",
	key:           "transformer.layer.%d.attention.k_lin",
	value:         "transformer.layer.%d.attention.v_lin",
	output:        "transformer.layer.%d.attention.out_lin",
	attentionNorm: "transformer.layer.%d.sa_layer_norm",
	up:            "transformer.layer.%d.ffn.lin1",
	down:          "transformer.layer.%d.ffn.lin2",
	outputNorm:    "transformer.layer.%d.output_layer_norm",
}

// weightReader takes tensors by name and remembers the first that is missing or of another shape.
type weightReader struct {
	tensors map[string]*Tensor
	prefix  string
	problem error
}

func (r *weightReader) note(format string, values ...any) {
	if r.problem == nil {
		r.problem = fmt.Errorf(format, values...)
	}
}

// take gives a tensor of so many dimensions whose last one is `last` (0: any).
func (r *weightReader) take(name string, dimensions, last int) *Tensor {
	tensor := r.tensors[r.prefix+name]
	if tensor == nil {
		r.note("the weights lack %s%s", r.prefix, name)
		return &Tensor{make([]int, dimensions), nil}
	}
	if len(tensor.Shape) != dimensions || (last > 0 && tensor.Shape[dimensions-1] != last) {
		r.note("%s%s has the shape %v", r.prefix, name, tensor.Shape)
		return &Tensor{make([]int, dimensions), nil}
	}
	return tensor
}

func (r *weightReader) linear(name string, inputs int) Matrix {
	weight := r.take(name+".weight", 2, inputs)
	bias := r.take(name+".bias", 1, weight.Shape[0])
	return Matrix{weight.Shape[0], weight.Shape[1], weight.Data, bias.Data}
}

func (r *weightReader) norm(name string, width int, epsilon float64) layerNorm {
	return layerNorm{r.take(name+".weight", 1, width).Data, r.take(name+".bias", 1, width).Data, epsilon}
}

// buildEncoder takes an encoder's weights, under the prefix of a stock classifier ("bert.") or without one.
func buildEncoder(config *ModelConfig, tensors map[string]*Tensor) (*Encoder, error) {
	reader := &weightReader{tensors: tensors, prefix: findPrefix(tensors)}
	names := bertNames
	if config.Family == "distilbert" {
		names = distilNames
	}
	encoder := &Encoder{
		Config:    config,
		words:     reader.take("embeddings.word_embeddings.weight", 2, config.Width),
		positions: reader.take("embeddings.position_embeddings.weight", 2, config.Width),
		norm:      reader.norm(names.embeddingNorm, config.Width, config.Epsilon),
	}
	if names.typed {
		encoder.types = reader.take("embeddings.token_type_embeddings.weight", 2, config.Width)
	}
	for i := 0; i < config.Layers; i++ {
		encoder.layers = append(encoder.layers, readLayer(reader, names, config, i))
	}
	if extra := fmt.Sprintf(names.query+".weight", config.Layers); tensors[reader.prefix+extra] != nil {
		reader.note("config.json tells of %d layers, and the weights hold more", config.Layers)
	}
	activate, err := chooseActivation(config.Activation)
	if err != nil {
		return nil, err
	}
	encoder.activate = activate
	return encoder, reader.problem
}

func readLayer(reader *weightReader, names weightNames, config *ModelConfig, place int) encoderLayer {
	at := func(name string) string { return fmt.Sprintf(name, place) }
	width := config.Width
	layer := encoderLayer{
		query:         reader.linear(at(names.query), width),
		key:           reader.linear(at(names.key), width),
		value:         reader.linear(at(names.value), width),
		output:        reader.linear(at(names.output), width),
		up:            reader.linear(at(names.up), width),
		attentionNorm: reader.norm(at(names.attentionNorm), width, config.Epsilon),
		outputNorm:    reader.norm(at(names.outputNorm), width, config.Epsilon),
	}
	layer.down = reader.linear(at(names.down), layer.up.Outputs)
	for _, square := range []Matrix{layer.query, layer.key, layer.value, layer.output, layer.down} {
		if reader.problem == nil && square.Outputs != width {
			reader.note("a layer gives %d values, and the model is %d wide", square.Outputs, width)
		}
	}
	return layer
}

func findPrefix(tensors map[string]*Tensor) string {
	for name := range tensors {
		if at := strings.Index(name, "embeddings.word_embeddings.weight"); at >= 0 {
			return name[:at]
		}
	}
	return ""
}
