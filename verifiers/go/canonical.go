package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sort"
	"unicode/utf8"
)

// decodeJSON reads one JSON value and keeps every number as it is written.
func decodeJSON(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return value, nil
}

// appendCanonical writes a value with sorted keys, no spaces, and nothing escaped that need not be: the form that
// digests are taken of. Numbers stay as they were written.
func appendCanonical(to []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(to, "null"...)
	case bool:
		if v {
			return append(to, "true"...)
		}
		return append(to, "false"...)
	case json.Number:
		return append(to, v.String()...)
	case string:
		return appendString(to, v)
	case []any:
		to = append(to, '[')
		for i, item := range v {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendCanonical(to, item)
		}
		return append(to, ']')
	case map[string]any:
		return appendObject(to, v)
	}
	panic(fmt.Sprintf("no JSON value: %T", value))
}

func appendObject(to []byte, object map[string]any) []byte {
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	sort.Strings(keys) // bytes of UTF-8 sort as code points do
	to = append(to, '{')
	for i, key := range keys {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(appendString(to, key), ':')
		to = appendCanonical(to, object[key])
	}
	return append(to, '}')
}

func appendString(to []byte, text string) []byte {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}
	to = append(to, '"')
	for _, r := range text {
		if escape, found := short[r]; found {
			to = append(to, escape...)
		} else if r < 0x20 {
			to = append(to, fmt.Sprintf(`\u%04x`, r)...)
		} else {
			to = utf8.AppendRune(to, r)
		}
	}
	return append(to, '"')
}

// digestWithout is the SHA-256 of the canonical form of an object without one of its keys.
func digestWithout(object map[string]any, key string) string {
	kept := map[string]any{}
	for name, value := range object {
		if name != key {
			kept[name] = value
		}
	}
	sum := sha256.Sum256(appendCanonical(nil, kept))
	return hex.EncodeToString(sum[:])
}
