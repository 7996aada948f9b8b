package main

import (
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LeftStrip  bool   `json:"lstrip"`
	RightStrip bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
}

// tokenMatcher finds added tokens that are written out in a text: the leftmost one, and of those the longest.
type tokenMatcher struct{ tokens []addedToken }

type textPart struct {
	text  string
	token *addedToken // the part is this token
}

func buildMatchers(tokens []addedToken, normalize func(string) string) (*tokenMatcher, *tokenMatcher) {
	plain, normalized := &tokenMatcher{}, &tokenMatcher{}
	for _, token := range tokens {
		if token.Content == "" {
			continue
		}
		if token.Normalized {
			token.Content = normalize(token.Content)
			normalized.tokens = append(normalized.tokens, token)
		} else {
			plain.tokens = append(plain.tokens, token)
		}
	}
	for _, matcher := range []*tokenMatcher{plain, normalized} {
		sort.SliceStable(matcher.tokens, func(i, j int) bool {
			return len(matcher.tokens[i].Content) > len(matcher.tokens[j].Content)
		})
	}
	return plain, normalized
}

// split cuts a text into added tokens and what lies between them.
func (m *tokenMatcher) split(text string) []textPart {
	var parts []textPart
	done, from := 0, 0
	for from < len(text) {
		start, token := m.findNext(text, from)
		if token == nil {
			break
		}
		end := start + len(token.Content)
		if token.SingleWord && !standsAlone(text, start, end) {
			from = end
			continue
		}
		if token.LeftStrip {
			start = done + len(strings.TrimRightFunc(text[done:start], unicode.IsSpace))
		}
		if token.RightStrip {
			end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		if start > done {
			parts = append(parts, textPart{text: text[done:start]})
		}
		parts = append(parts, textPart{token: token})
		done, from = end, end
	}
	if done < len(text) {
		parts = append(parts, textPart{text: text[done:]})
	}
	return parts
}

func (m *tokenMatcher) findNext(text string, from int) (int, *addedToken) {
	best, found := len(text), (*addedToken)(nil)
	for i := range m.tokens {
		if at := strings.Index(text[from:], m.tokens[i].Content); at >= 0 && from+at < best {
			best, found = from+at, &m.tokens[i]
		}
	}
	return best, found
}

func standsAlone(text string, start, end int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:start])
	after, _ := utf8.DecodeRuneInString(text[end:])
	return (start == 0 || !isWordCharacter(before)) && (end == len(text) || !isWordCharacter(after))
}

func isWordCharacter(r rune) bool { return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.Pc) }
