package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	certificateFile = "certificate.json"
	manifestFile    = "manifest.json"
	certificateKind = "loratory-certificate"
)

// Certificate is what certificate.json claims; nothing of it is believed that can be computed.
type Certificate struct {
	Kind    string      `json:"kind"`
	Version int         `json:"version"`
	Format  string      `json:"format"`
	Class   string      `json:"tolerance_class"`
	Model   ModelFacts  `json:"model"`
	Files   stringTable `json:"files"`
	Goldens struct {
		File    string `json:"file"`
		Count   int    `json:"count"`
		Batches int    `json:"batches"`
		Digest  string `json:"sha256"`
	} `json:"goldens"`
	Measured struct {
		Accuracy *accuracyFacts `json:"accuracy"`
	} `json:"measured"`
	Chain struct {
		ExactMember *string `json:"exact_member"`
	} `json:"chain"`
	Passed bool    `json:"passed"`
	Stage  *string `json:"stage"`
	Digest string  `json:"digest"`

	whole map[string]any // as it is written, for its own digest
}

type stringTable map[string]string

type accuracyFacts struct {
	Difference float64 `json:"difference"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Rows       int     `json:"rows"`
	Margin     float64 `json:"margin"`
}

// ModelFacts say how the model reads and answers.
type ModelFacts struct {
	Task           map[string]any  `json:"task"`
	Labels         []string        `json:"labels"`
	Family         string          `json:"family"`
	Head           string          `json:"head"`
	Temperature    *float64        `json:"temperature"`
	OperatingPoint *OperatingPoint `json:"operating_point"`
	MaxTokens      int             `json:"max_tokens"`
	PadID          int             `json:"pad_id"`
	Pooling        string          `json:"pooling"`
	HasSpanRules   bool            `json:"has_span_rules"`
	Files          struct {
		Model     string  `json:"model"`
		Tokenizer string  `json:"tokenizer"`
		Head      *string `json:"head"`
		Config    *string `json:"config"`
	} `json:"files"`
}

// readCertificate reads certificate.json of a folder.
func readCertificate(folder string) (*Certificate, error) {
	data, err := os.ReadFile(filepath.Join(folder, certificateFile))
	if err != nil {
		return nil, err
	}
	value, err := decodeJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certificateFile, err)
	}
	whole, isObject := value.(map[string]any)
	if !isObject {
		return nil, fmt.Errorf("%s holds no object", certificateFile)
	}
	made := &Certificate{whole: whole}
	if err := json.Unmarshal(data, made); err != nil {
		return nil, fmt.Errorf("%s: %w", certificateFile, err)
	}
	if made.Kind != certificateKind || made.Version != 1 {
		return nil, fmt.Errorf("%s is of the kind %q, version %d; this program reads %s, version 1", certificateFile, made.Kind, made.Version, certificateKind)
	}
	if _, known := tolerances[made.Class]; !known {
		return nil, fmt.Errorf("%s: the tolerance class %q is not known", certificateFile, made.Class)
	}
	return made, nil
}

// locate is the path of a file that the certificate names; it must lie in the folder.
func locate(folder, name string) (string, error) {
	clean := filepath.Clean(filepath.FromSlash(name))
	if name == "" || filepath.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, ".."+string(filepath.Separator)) {
		return "", fmt.Errorf("the certificate names the file %q, which does not lie in the folder", name)
	}
	return filepath.Join(folder, clean), nil
}
