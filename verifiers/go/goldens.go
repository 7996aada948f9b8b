package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

const maxLineBytes = 64 << 20

// Golden is one text with everything that the measured model made of it.
type Golden struct {
	ID            string          `json:"id"`
	Kind          string          `json:"kind"`
	Text          string          `json:"text"`
	Tokens        []int           `json:"tokens"`
	Layers        [][]float64     `json:"layers"`
	Pooled        []float64       `json:"pooled"`
	Logits        numberRows      `json:"logits"`
	Probabilities numberRows      `json:"probabilities"`
	Answer        json.RawMessage `json:"answer"`
	Abstained     bool            `json:"abstained"`
	Rows          int             `json:"rows"`    // of a text that is read in windows; the stages are those of the first
	Members       []string        `json:"members"` // of a batch
}

// numberRows is a row of numbers, or a row for every token.
type numberRows [][]float64

// UnmarshalJSON reads [..] as one row and [[..], ..] as many.
func (r *numberRows) UnmarshalJSON(data []byte) error {
	var one []float64
	if json.Unmarshal(data, &one) == nil {
		*r = numberRows{one}
		if one == nil {
			*r = nil
		}
		return nil
	}
	var many [][]float64
	err := json.Unmarshal(data, &many)
	*r = many
	return err
}

// label is the label of an answer of classification; ok is false where the answer is none of these.
func (g *Golden) label() (label string, ok bool) {
	if len(g.Answer) == 0 || string(g.Answer) == "null" {
		return "", true
	}
	if json.Unmarshal(g.Answer, &label) == nil {
		return label, true
	}
	var object struct {
		Label *string `json:"label"`
	}
	if json.Unmarshal(g.Answer, &object) == nil && object.Label != nil {
		return *object.Label, true
	}
	return "", false
}

// readGoldens gives the goldens and the batches of a file.
func readGoldens(file string) (goldens, batches []*Golden, err error) {
	opened, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer opened.Close()
	scanner := bufio.NewScanner(opened)
	scanner.Buffer(nil, maxLineBytes)
	for line := 1; scanner.Scan(); line++ {
		if len(scanner.Bytes()) == 0 {
			continue
		}
		golden := &Golden{}
		if err := json.Unmarshal(scanner.Bytes(), golden); err != nil {
			return nil, nil, fmt.Errorf("%s, line %d: %w", file, line, err)
		}
		if golden.Kind == "batch" {
			batches = append(batches, golden)
		} else {
			goldens = append(goldens, golden)
		}
	}
	return goldens, batches, scanner.Err()
}
