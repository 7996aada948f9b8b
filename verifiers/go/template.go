package main

import (
	"encoding/json"
	"fmt"
)

type templateFile struct {
	Single []struct {
		SpecialToken *struct {
			ID string `json:"id"`
		}
		Sequence *struct {
			ID string `json:"id"`
		}
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int `json:"ids"`
	} `json:"special_tokens"`
	Sep        pairOfToken       `json:"sep"` // of BertProcessing and RobertaProcessing
	Cls        pairOfToken       `json:"cls"`
	Processors []json.RawMessage `json:"processors"` // of Sequence
}

// pairOfToken is written as ["[SEP]", 102].
type pairOfToken struct{ ID int }

func (p *pairOfToken) UnmarshalJSON(data []byte) error {
	var token string
	return json.Unmarshal(data, &[]any{&token, &p.ID})
}

// buildTemplate gives the special tokens before and behind a single text.
func (t *Tokenizer) buildTemplate(raw json.RawMessage) ([]int, []int, error) {
	kind := kindOf(raw)
	var file templateFile
	if kind != "" {
		if err := json.Unmarshal(raw, &file); err != nil {
			return nil, nil, err
		}
	}
	switch kind {
	case "", "ByteLevel":
		return nil, nil, nil
	case "BertProcessing", "RobertaProcessing":
		return []int{file.Cls.ID}, []int{file.Sep.ID}, nil
	case "TemplateProcessing":
		return readTemplate(file)
	case "Sequence":
		return t.buildSequence(file.Processors)
	}
	return nil, nil, fmt.Errorf("the post-processor %s is not read here", kind)
}

func (t *Tokenizer) buildSequence(processors []json.RawMessage) (before, after []int, err error) {
	for _, one := range processors {
		first, last, err := t.buildTemplate(one)
		if err != nil {
			return nil, nil, err
		}
		before, after = append(first, before...), append(after, last...)
	}
	return before, after, nil
}

func readTemplate(file templateFile) (before, after []int, err error) {
	seen := false
	for _, piece := range file.Single {
		switch {
		case piece.Sequence != nil && !seen:
			seen = true
		case piece.Sequence != nil:
			return nil, nil, fmt.Errorf("the template holds the text twice")
		case piece.SpecialToken != nil:
			token, known := file.SpecialTokens[piece.SpecialToken.ID]
			if !known {
				return nil, nil, fmt.Errorf("the template names %q, which has no ids", piece.SpecialToken.ID)
			}
			if seen {
				after = append(after, token.IDs...)
			} else {
				before = append(before, token.IDs...)
			}
		}
	}
	if !seen {
		return nil, nil, fmt.Errorf("the template does not hold the text")
	}
	return before, after, nil
}
