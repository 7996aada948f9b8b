package main

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// WordPiece takes the longest piece that is known, again and again; a word that does not come out whole is unknown.
type WordPiece struct {
	vocabulary map[string]int
	unknown    int
	prefix     string // of pieces that do not begin a word
	maxChars   int
}

func readWordPiece(raw json.RawMessage) (subwordModel, map[string]int, error) {
	var options struct {
		Vocabulary map[string]int `json:"vocab"`
		Unknown    string         `json:"unk_token"`
		Prefix     string         `json:"continuing_subword_prefix"`
		MaxChars   int            `json:"max_input_chars_per_word"`
	}
	if err := json.Unmarshal(raw, &options); err != nil {
		return nil, nil, err
	}
	unknown, found := options.Vocabulary[options.Unknown]
	if !found {
		return nil, nil, fmt.Errorf("the unknown token %q is not in the vocabulary", options.Unknown)
	}
	return &WordPiece{options.Vocabulary, unknown, options.Prefix, options.MaxChars}, options.Vocabulary, nil
}

func (m *WordPiece) encodeWord(to []int, word string) []int {
	if utf8.RuneCountInString(word) > m.maxChars {
		return append(to, m.unknown)
	}
	known := len(to)
	for start := 0; start < len(word); {
		id, end := m.findLongest(word, start)
		if end == start {
			return append(to[:known], m.unknown)
		}
		to, start = append(to, id), end
	}
	return to
}

func (m *WordPiece) findLongest(word string, start int) (int, int) {
	prefix := ""
	if start > 0 {
		prefix = m.prefix
	}
	for end := len(word); end > start; {
		if id, found := m.vocabulary[prefix+word[start:end]]; found {
			return id, end
		}
		_, width := utf8.DecodeLastRuneInString(word[start:end])
		end -= width
	}
	return 0, start
}
