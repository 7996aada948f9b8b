package main

import (
	"encoding/json"
	"reflect"
	"testing"
)

const smallTokenizer = `{
  "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
  "added_tokens": [
    {"id": 0, "content": "[PAD]", "special": true}, {"id": 1, "content": "[UNK]", "special": true},
    {"id": 2, "content": "[CLS]", "special": true}, {"id": 3, "content": "[SEP]", "special": true},
    {"id": 12, "content": "[MASK]", "lstrip": true, "special": true}
  ],
  "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
  "pre_tokenizer": {"type": "BertPreTokenizer"},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
    "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2]}, "[SEP]": {"id": "[SEP]", "ids": [3]}}},
  "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 10,
    "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "card": 4, "##s": 5, "cafe": 6, "!": 7, "我": 8, "a": 9, "##b": 10, "##card": 11}}
}`

func TestEncode(t *testing.T) {
	for _, test := range []struct {
		name, text string
		expected   []int
	}{
		{"nothing", "", []int{2, 3}},
		{"pieces", "cards", []int{2, 4, 5, 3}},
		{"upper case and accents", "CAFÉ", []int{2, 6, 3}},
		{"decomposed accents", "cafe\u0301", []int{2, 6, 3}},
		{"punctuation is a word", "card!!", []int{2, 4, 7, 7, 3}},
		{"ideographs are words", "card我a", []int{2, 4, 8, 9, 3}},
		{"control characters", "ca\u0000r\u200bd\tab", []int{2, 4, 9, 10, 3}},
		{"an unknown word", "cardx", []int{2, 1, 3}},
		{"a word that is too long", "cardcardcard", []int{2, 1, 3}},
		{"a special token in the text", "a [SEP]card [MASK]a", []int{2, 9, 3, 4, 12, 9, 3}},
		{"a text that is cut", "a a a a a a a a", []int{2, 9, 9, 9, 9, 9, 9, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if found := buildSmall(t, smallTokenizer).encode(test.text); !reflect.DeepEqual(found, test.expected) {
				t.Errorf("%q: %v, expected %v", test.text, found, test.expected)
			}
		})
	}
}

func TestCutOnTheLeft(t *testing.T) {
	tokenizer := buildSmall(t, smallTokenizer)
	tokenizer.cutLeft = true
	if found := tokenizer.encode("a a a a a a a card"); !reflect.DeepEqual(found, []int{2, 9, 9, 9, 9, 9, 4, 3}) {
		t.Errorf("%v", found)
	}
}

func buildSmall(t *testing.T, text string) *Tokenizer {
	t.Helper()
	var raw tokenizerFile
	if err := json.Unmarshal([]byte(text), &raw); err != nil {
		t.Fatal(err)
	}
	made, err := buildTokenizer(raw)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestWhatIsNotImplementedIsRefusedByName(t *testing.T) {
	for _, raw := range []string{
		`{"pre_tokenizer": {"type": "Metaspace"}}`,
		`{"normalizer": {"type": "Precompiled"}}`,
		`{"pre_tokenizer": {"type": "BertPreTokenizer"}, "model": {"type": "Unigram"}}`,
	} {
		var file tokenizerFile
		if err := json.Unmarshal([]byte(raw), &file); err != nil {
			t.Fatal(err)
		}
		if _, err := buildTokenizer(file); err == nil {
			t.Errorf("%s was read", raw)
		}
	}
}

func TestSplitGPT2Words(t *testing.T) {
	for text, expected := range map[string][]string{
		"it's  here":     {"it", "'s", " ", " here"},
		"a1 b,,c\n\nd  ": {"a", "1", " b", ",,", "c", "\n", "\n", "d", "  "},
		" 'll é٣":        {" '", "ll", " é", "٣"},
	} {
		if found := splitGPT2Words(text); !reflect.DeepEqual(found, expected) {
			t.Errorf("%q: %q, expected %q", text, found, expected)
		}
	}
}

func TestBytePairs(t *testing.T) {
	raw := `{"vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4}, "merges": [["a", "b"], "Ġ ab"]}`
	model, _, err := readBytePairs(json.RawMessage(raw))
	if err != nil {
		t.Fatal(err)
	}
	split, err := buildByteLevel(json.RawMessage(`{"type": "ByteLevel", "add_prefix_space": true}`))
	if err != nil {
		t.Fatal(err)
	}
	var ids []int
	for _, word := range split("ab aba") {
		ids = model.encodeWord(ids, word)
	}
	if !reflect.DeepEqual(ids, []int{4, 4, 0}) {
		t.Errorf("%v", ids)
	}
}
