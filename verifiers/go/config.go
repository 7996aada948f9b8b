package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// ModelConfig is what config.json says of an encoder, whatever family it is of.
type ModelConfig struct {
	Family       string
	Layers       int
	Heads        int
	Width        int
	Activation   string
	Epsilon      float64 // of layer normalisation
	PadID        int
	Labels       []string // id2label, in order; empty where it names none
	positionBase int      // what is added to positions that count from 0
}

type configFile struct {
	ModelType      string            `json:"model_type"`
	Hidden         int               `json:"hidden_size"`
	Layers         int               `json:"num_hidden_layers"`
	Heads          int               `json:"num_attention_heads"`
	Activation     string            `json:"hidden_act"`
	Epsilon        *float64          `json:"layer_norm_eps"`
	PadID          *int              `json:"pad_token_id"`
	PositionKind   string            `json:"position_embedding_type"`
	IsDecoder      bool              `json:"is_decoder"`
	Labels         map[string]string `json:"id2label"`
	DistilHidden   int               `json:"dim"`
	DistilLayers   int               `json:"n_layers"`
	DistilHeads    int               `json:"n_heads"`
	DistilFunction string            `json:"activation"`
}

// readConfig reads config.json; a family or an option that is not implemented here is refused by its name.
func readConfig(file string) (*ModelConfig, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var raw configFile
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := checkConfig(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	made := &ModelConfig{
		Family: raw.ModelType, Layers: raw.Layers, Heads: raw.Heads, Width: raw.Hidden,
		Activation: raw.Activation, Epsilon: 1e-12, Labels: listLabels(raw.Labels),
	}
	if raw.PadID != nil {
		made.PadID = *raw.PadID
	}
	if raw.ModelType == "distilbert" { // its epsilon is no option
		made.Layers, made.Heads, made.Width, made.Activation = raw.DistilLayers, raw.DistilHeads, raw.DistilHidden, raw.DistilFunction
	} else if raw.Epsilon != nil {
		made.Epsilon = *raw.Epsilon
	}
	if raw.ModelType == "roberta" || raw.ModelType == "xlm-roberta" {
		made.positionBase = made.PadID + 1
	}
	if made.Layers < 1 || made.Heads < 1 || made.Width < 1 || made.Width%made.Heads != 0 {
		return nil, fmt.Errorf("%s: %d layers, %d heads and a width of %d make no encoder", file, made.Layers, made.Heads, made.Width)
	}
	return made, nil
}

func checkConfig(raw configFile) error {
	switch raw.ModelType {
	case "bert", "roberta", "xlm-roberta", "distilbert":
	default:
		return fmt.Errorf("the model type %q is not implemented here; bert, roberta, xlm-roberta and distilbert are", raw.ModelType)
	}
	if raw.PositionKind != "" && raw.PositionKind != "absolute" {
		return fmt.Errorf("positions of the kind %q are not implemented here", raw.PositionKind)
	}
	if raw.IsDecoder {
		return fmt.Errorf("decoders are not implemented here")
	}
	return nil
}

func listLabels(named map[string]string) []string {
	labels := make([]string, len(named))
	for key, label := range named {
		var place int
		if _, err := fmt.Sscanf(key, "%d", &place); err != nil || place < 0 || place >= len(labels) {
			return nil
		}
		labels[place] = label
	}
	return labels
}
