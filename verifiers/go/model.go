package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
)

// Model is an exported folder, opened.
type Model struct {
	Facts     ModelFacts
	Tokenizer *Tokenizer
	Encoder   *Encoder
	Head      Head
	padLeft   bool
}

// readingFacts are what the small files of a folder say of how texts are read; each must agree with the certificate.
type readingFacts struct {
	modelMaxLength *float64
	paddingSide    string
	padToken       string
	head           headFacts
	labels         map[string]string // of labels.json
	point          *OperatingPoint   // of operating.json
}

type headFacts struct {
	Kind      string `json:"kind"`
	Pooling   string `json:"pooling"`
	MaxTokens int    `json:"max_tokens"`
	Long      string `json:"long"`
}

// openModel reads what the certificate names; problems that the files have with one another go into the comparison.
func openModel(folder string, certificate *Certificate, to *Comparison) (*Model, error) {
	facts := certificate.Model
	config, tokenizer, err := readDescriptions(folder, facts)
	if err != nil {
		return nil, err
	}
	tensors, own, err := readWeights(folder, facts)
	if err != nil {
		return nil, err
	}
	encoder, err := buildEncoder(config, tensors)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", facts.Files.Model, err)
	}
	reading, err := readReadingFacts(folder, facts)
	if err != nil {
		return nil, err
	}
	kind, pooling := facts.Head, facts.Pooling
	if reading.head.Pooling != "" {
		pooling = reading.head.Pooling
	}
	head, err := buildHead(kind, pooling, own, tensors, config)
	if err != nil {
		return nil, err
	}
	checkAgreement(facts, reading, config, tokenizer, to)
	return &Model{facts, tokenizer, encoder, head, reading.paddingSide == "left"}, nil
}

func readDescriptions(folder string, facts ModelFacts) (*ModelConfig, *Tokenizer, error) {
	if facts.Files.Config == nil {
		return nil, nil, fmt.Errorf("the certificate names no configuration: this form is not one that this program runs")
	}
	configPath, err := locate(folder, *facts.Files.Config)
	if err != nil {
		return nil, nil, err
	}
	config, err := readConfig(configPath)
	if err != nil {
		return nil, nil, err
	}
	tokenizerPath, err := locate(folder, facts.Files.Tokenizer)
	if err != nil {
		return nil, nil, err
	}
	tokenizer, err := readTokenizer(tokenizerPath)
	return config, tokenizer, err
}

func readWeights(folder string, facts ModelFacts) (tensors, own map[string]*Tensor, err error) {
	if filepath.Ext(facts.Files.Model) != ".safetensors" {
		return nil, nil, fmt.Errorf("the model file %q is no safetensors file: this form is not one that this program runs", facts.Files.Model)
	}
	modelPath, err := locate(folder, facts.Files.Model)
	if err != nil {
		return nil, nil, err
	}
	if tensors, err = readSafetensors(modelPath); err != nil || facts.Files.Head == nil {
		return tensors, nil, err
	}
	headPath, err := locate(folder, *facts.Files.Head)
	if err != nil {
		return nil, nil, err
	}
	own, err = readSafetensors(headPath)
	return tensors, own, err
}

// readReadingFacts reads the small files beside the model; a file that is not there says nothing.
func readReadingFacts(folder string, facts ModelFacts) (made readingFacts, err error) {
	beside := path.Dir(facts.Files.Model)
	var tokenizer struct {
		MaxLength *float64        `json:"model_max_length"`
		Side      string          `json:"padding_side"`
		Pad       json.RawMessage `json:"pad_token"`
	}
	var labels struct {
		Names map[string]string `json:"id2label"`
	}
	for _, one := range []struct {
		name string
		into any
	}{
		{path.Join(path.Dir(facts.Files.Tokenizer), "tokenizer_config.json"), &tokenizer},
		{path.Join(beside, "head.json"), &made.head},
		{path.Join(beside, "labels.json"), &labels},
		{"operating.json", &made.point},
	} {
		if err := readOptional(folder, one.name, one.into); err != nil {
			return made, err
		}
	}
	made.modelMaxLength, made.paddingSide, made.labels = tokenizer.MaxLength, tokenizer.Side, labels.Names
	made.padToken = tokenContent(tokenizer.Pad)
	return made, nil
}

func readOptional(folder, name string, into any) error {
	file, err := locate(folder, name)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// tokenContent reads a token that is written as "[PAD]" or as {"content": "[PAD]", ...}.
func tokenContent(raw json.RawMessage) string {
	var text string
	if len(raw) == 0 || json.Unmarshal(raw, &text) == nil {
		return text
	}
	var object struct {
		Content string `json:"content"`
	}
	if json.Unmarshal(raw, &object) != nil {
		return ""
	}
	return object.Content
}

// checkAgreement notes where the folder's files say another thing than the certificate.
func checkAgreement(facts ModelFacts, reading readingFacts, config *ModelConfig, tokenizer *Tokenizer, to *Comparison) {
	if facts.MaxTokens > 0 && tokenizer.MaxTokens > 0 && tokenizer.MaxTokens != facts.MaxTokens {
		to.addProblem(stageTokens, "tokenizer.json cuts at %d tokens, the certificate says %d", tokenizer.MaxTokens, facts.MaxTokens)
	}
	if tokenizer.MaxTokens == 0 {
		tokenizer.MaxTokens = facts.MaxTokens
	}
	if length := reading.modelMaxLength; length != nil && facts.MaxTokens > 0 && *length != float64(facts.MaxTokens) {
		to.addProblem(stageTokens, "tokenizer_config.json cuts at %.0f tokens, the certificate says %d", *length, facts.MaxTokens)
	}
	if id, known := tokenizer.idOf(reading.padToken); known && id != facts.PadID {
		to.addProblem(stageTokens, "the padding token %s is number %d, the certificate says %d", reading.padToken, id, facts.PadID)
	}
	if reading.head.Pooling != "" && facts.Pooling != "" && reading.head.Pooling != facts.Pooling {
		to.addProblem(stagePooled, "head.json says pooling %s, the certificate %s", reading.head.Pooling, facts.Pooling)
	}
	if len(config.Labels) > 0 && !sameNames(config.Labels, facts.Labels) {
		to.addProblem(stageLabels, "config.json has the labels %v, the certificate %v", config.Labels, facts.Labels)
	}
	if labels := listLabels(reading.labels); len(labels) > 0 && !sameNames(labels, facts.Labels) {
		to.addProblem(stageLabels, "labels.json has the labels %v, the certificate %v", labels, facts.Labels)
	}
	if reading.point != nil && !samePoint(reading.point, facts.OperatingPoint) {
		to.addProblem(stageAnswer, "operating.json has another operating point than the certificate")
	}
}

func (t *Tokenizer) idOf(token string) (int, bool) {
	if id, known := t.addedTokens[token]; known {
		return id, true
	}
	id, known := t.vocabulary[token]
	return id, known
}

func sameNames(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// samePoint compares what two operating points decide; none at all is the same as one that decides nothing.
func samePoint(a, b *OperatingPoint) bool {
	if !a.decides() && !b.decides() {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	left, _ := json.Marshal(a)
	right, _ := json.Marshal(b)
	return string(left) == string(right)
}
