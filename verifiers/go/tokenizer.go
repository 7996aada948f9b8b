package main

import (
	"encoding/json"
	"fmt"
	"os"
	"unicode/utf8"
)

// Tokenizer turns text into ids as a tokenizer.json says.
type Tokenizer struct {
	normalize   func(string) string
	split       func(string) []string
	model       subwordModel
	special     *tokenMatcher // added tokens that are looked for in the text as it is
	normalized  *tokenMatcher // added tokens that are looked for in the text once it is normalised
	before      []int         // special tokens before the text
	after       []int         // special tokens behind the text
	MaxTokens   int           // 0: nothing is cut
	cutLeft     bool
	vocabulary  map[string]int
	addedTokens map[string]int
}

// subwordModel splits one word into the ids of its pieces.
type subwordModel interface {
	encodeWord(to []int, word string) []int
}

type tokenizerFile struct {
	Truncation *struct {
		Direction string `json:"direction"`
		MaxLength int    `json:"max_length"`
		Strategy  string `json:"strategy"`
	} `json:"truncation"`
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    json.RawMessage `json:"normalizer"`
	PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
	PostProcessor json.RawMessage `json:"post_processor"`
	Model         json.RawMessage `json:"model"`
}

// readTokenizer reads a tokenizer.json; what is not implemented here is refused by its name.
func readTokenizer(file string) (*Tokenizer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var raw tokenizerFile
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	made, err := buildTokenizer(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return made, nil
}

func buildTokenizer(raw tokenizerFile) (*Tokenizer, error) {
	t := &Tokenizer{addedTokens: map[string]int{}}
	if raw.Truncation != nil {
		t.MaxTokens, t.cutLeft = raw.Truncation.MaxLength, raw.Truncation.Direction == "Left"
	}
	var err error
	if t.normalize, err = buildNormalizer(raw.Normalizer); err != nil {
		return nil, err
	}
	if t.split, err = buildPreTokenizer(raw.PreTokenizer); err != nil {
		return nil, err
	}
	if t.model, t.vocabulary, err = buildModel(raw.Model); err != nil {
		return nil, err
	}
	for _, token := range raw.AddedTokens {
		t.addedTokens[token.Content] = token.ID
	}
	t.special, t.normalized = buildMatchers(raw.AddedTokens, t.normalize)
	t.before, t.after, err = t.buildTemplate(raw.PostProcessor)
	return t, err
}

// kindOf is the "type" of a part of tokenizer.json; empty where there is none.
func kindOf(raw json.RawMessage) string {
	var part struct {
		Type string `json:"type"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &part) != nil {
		return ""
	}
	return part.Type
}

func buildNormalizer(raw json.RawMessage) (func(string) string, error) {
	switch kind := kindOf(raw); kind {
	case "":
		return func(text string) string { return text }, nil
	case "BertNormalizer":
		var options struct {
			CleanText          bool  `json:"clean_text"`
			HandleChineseChars bool  `json:"handle_chinese_chars"`
			StripAccents       *bool `json:"strip_accents"`
			Lowercase          bool  `json:"lowercase"`
		}
		if err := json.Unmarshal(raw, &options); err != nil {
			return nil, err
		}
		made := BertNormalizer{options.CleanText, options.HandleChineseChars, options.Lowercase, options.Lowercase}
		if options.StripAccents != nil {
			made.StripAccents = *options.StripAccents
		}
		return made.normalize, nil
	case "Lowercase":
		return lowercase, nil
	default:
		return nil, fmt.Errorf("the normaliser %s is not read here", kind)
	}
}

func buildPreTokenizer(raw json.RawMessage) (func(string) []string, error) {
	switch kind := kindOf(raw); kind {
	case "BertPreTokenizer":
		return splitBertWords, nil
	case "ByteLevel":
		return buildByteLevel(raw)
	default:
		return nil, fmt.Errorf("the pre-tokenizer %q is not read here", kind)
	}
}

func buildModel(raw json.RawMessage) (subwordModel, map[string]int, error) {
	switch kind := kindOf(raw); kind {
	case "WordPiece":
		return readWordPiece(raw)
	case "BPE":
		return readBytePairs(raw)
	default:
		return nil, nil, fmt.Errorf("the model %q is not read here", kind)
	}
}

// encode gives the ids of a text, special tokens included, cut to MaxTokens.
func (t *Tokenizer) encode(text string) []int {
	var ids []int
	for _, part := range t.special.split(text) {
		if part.token != nil {
			ids = append(ids, part.token.ID)
			continue
		}
		ids = t.encodePart(ids, t.normalize(part.text))
	}
	return t.frame(t.cut(ids))
}

func (t *Tokenizer) encodePart(ids []int, text string) []int {
	for _, part := range t.normalized.split(text) {
		if part.token != nil {
			ids = append(ids, part.token.ID)
			continue
		}
		for _, word := range t.split(part.text) {
			ids = t.model.encodeWord(ids, word)
		}
	}
	return ids
}

func (t *Tokenizer) cut(ids []int) []int {
	room := t.MaxTokens - len(t.before) - len(t.after)
	if t.MaxTokens == 0 || len(ids) <= room {
		return ids
	}
	if room < 0 {
		room = 0
	}
	if t.cutLeft {
		return ids[len(ids)-room:]
	}
	return ids[:room]
}

func (t *Tokenizer) frame(ids []int) []int {
	whole := make([]int, 0, len(ids)+len(t.before)+len(t.after))
	whole = append(whole, t.before...)
	whole = append(whole, ids...)
	return append(whole, t.after...)
}

// splitBertWords splits at white space, and makes every punctuation mark a word.
func splitBertWords(text string) []string {
	var words []string
	start := 0
	flush := func(end int) {
		if end > start {
			words = append(words, text[start:end])
		}
	}
	for i, r := range text {
		width := utf8.RuneLen(r)
		switch {
		case isSpace(r):
			flush(i)
			start = i + width
		case isPunctuation(r):
			flush(i)
			words = append(words, text[i:i+width])
			start = i + width
		}
	}
	flush(len(text))
	return words
}
