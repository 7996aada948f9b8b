package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// BytePairs joins the pair of pieces that was learnt first, again and again.
type BytePairs struct {
	vocabulary map[string]int
	ranks      map[[2]string]int
	unknown    int // -1: none
}

func readBytePairs(raw json.RawMessage) (subwordModel, map[string]int, error) {
	var options struct {
		Vocabulary map[string]int    `json:"vocab"`
		Merges     []json.RawMessage `json:"merges"`
		Unknown    string            `json:"unk_token"`
		Prefix     string            `json:"continuing_subword_prefix"`
		Suffix     string            `json:"end_of_word_suffix"`
		Fallback   bool              `json:"byte_fallback"`
	}
	if err := json.Unmarshal(raw, &options); err != nil {
		return nil, nil, err
	}
	if options.Prefix != "" || options.Suffix != "" || options.Fallback {
		return nil, nil, fmt.Errorf("BPE with prefixes, suffixes or byte_fallback is not read here")
	}
	made := &BytePairs{options.Vocabulary, map[[2]string]int{}, -1}
	if id, known := options.Vocabulary[options.Unknown]; known && options.Unknown != "" {
		made.unknown = id
	}
	for rank, merge := range options.Merges {
		pair, err := readMerge(merge)
		if err != nil {
			return nil, nil, err
		}
		made.ranks[pair] = rank
	}
	return made, options.Vocabulary, nil
}

// readMerge reads a pair as ["a", "b"], or in the older form "a b".
func readMerge(raw json.RawMessage) (pair [2]string, err error) {
	if json.Unmarshal(raw, &pair) == nil {
		return pair, nil
	}
	var joined string
	if err := json.Unmarshal(raw, &joined); err != nil {
		return pair, err
	}
	first, second, found := strings.Cut(joined, " ")
	if !found {
		return pair, fmt.Errorf("a merge of one piece: %q", joined)
	}
	return [2]string{first, second}, nil
}

func (m *BytePairs) encodeWord(to []int, word string) []int {
	pieces := strings.Split(word, "")
	for len(pieces) > 1 {
		place := m.findMerge(pieces)
		if place < 0 {
			break
		}
		pieces[place] += pieces[place+1]
		pieces = append(pieces[:place+1], pieces[place+2:]...)
	}
	for _, piece := range pieces {
		if id, known := m.vocabulary[piece]; known {
			to = append(to, id)
		} else if m.unknown >= 0 {
			to = append(to, m.unknown)
		}
	}
	return to
}

func (m *BytePairs) findMerge(pieces []string) int {
	best, place := len(m.ranks), -1
	for i := 0; i+1 < len(pieces); i++ {
		if rank, known := m.ranks[[2]string{pieces[i], pieces[i+1]}]; known && rank < best {
			best, place = rank, i
		}
	}
	return place
}

// buildByteLevel is the pre-tokenizer of GPT-2 and RoBERTa: words with the space before them, written in letters that
// stand for bytes.
func buildByteLevel(raw json.RawMessage) (func(string) []string, error) {
	options := struct {
		Prefix bool `json:"add_prefix_space"`
		Regex  bool `json:"use_regex"`
	}{Regex: true}
	if err := json.Unmarshal(raw, &options); err != nil {
		return nil, err
	}
	if !options.Regex {
		return nil, fmt.Errorf("ByteLevel without its expression is not read here")
	}
	letters := byteLetters()
	return func(text string) []string {
		if options.Prefix && !strings.HasPrefix(text, " ") {
			text = " " + text
		}
		words := splitGPT2Words(text)
		for i, word := range words {
			var spelt strings.Builder
			for j := 0; j < len(word); j++ {
				spelt.WriteRune(letters[word[j]])
			}
			words[i] = spelt.String()
		}
		return words
	}, nil
}

// byteLetters gives every byte a visible letter: itself where it is one, else the next free one above 255.
func byteLetters() (letters [256]rune) {
	next := rune(256)
	for b := 0; b < 256; b++ {
		if (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE {
			letters[b] = rune(b)
			continue
		}
		letters[b] = next
		next++
	}
	return letters
}

var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// splitGPT2Words splits as 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ does.
func splitGPT2Words(text string) []string {
	var words []string
	for len(text) > 0 {
		end := nextGPT2Word(text)
		words = append(words, text[:end])
		text = text[end:]
	}
	return words
}

func nextGPT2Word(text string) int {
	for _, one := range contractions {
		if strings.HasPrefix(text, one) {
			return len(one)
		}
	}
	lead := 0
	if text[0] == ' ' {
		lead = 1
	}
	for _, class := range []func(rune) bool{unicode.IsLetter, unicode.IsNumber, isOtherSign} {
		if run := runLength(text[lead:], class); run > 0 {
			return lead + run
		}
	}
	spaces := runLength(text, isSpace)
	if spaces < len(text) { // the last space goes with the word behind it
		_, last := utf8.DecodeLastRuneInString(text[:spaces])
		if spaces > last {
			return spaces - last
		}
	}
	return spaces
}

func isOtherSign(r rune) bool { return !isSpace(r) && !unicode.IsLetter(r) && !unicode.IsNumber(r) }

func runLength(text string, class func(rune) bool) int {
	for i, r := range text {
		if !class(r) {
			return i
		}
	}
	return len(text)
}
