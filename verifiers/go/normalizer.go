package main

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// BertNormalizer changes text as the normaliser of that name in the tokenizers library does.
type BertNormalizer struct {
	CleanText          bool
	HandleChineseChars bool
	StripAccents       bool
	Lowercase          bool
}

func (n *BertNormalizer) normalize(text string) string {
	if n == nil {
		return text
	}
	if n.CleanText {
		text = cleanText(text)
	}
	if n.HandleChineseChars {
		text = spaceIdeographs(text)
	}
	if n.StripAccents {
		text = stripAccents(text)
	}
	if n.Lowercase {
		text = lowercase(text)
	}
	return text
}

// cleanText drops control characters and makes every white space a space.
func cleanText(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n' || r == '\r':
			return ' '
		case r == 0 || r == 0xFFFD || isControl(r):
			return -1
		case isSpace(r):
			return ' '
		}
		return r
	}, text)
}

func isControl(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co) && !unicode.Is(laterFormats, r)
}

func isSpace(r rune) bool { return unicode.Is(unicode.White_Space, r) }

// isPunctuation is that of BERT: every ASCII sign, and what Unicode calls punctuation.
func isPunctuation(r rune) bool {
	if r < 0x80 {
		return r > ' ' && r < 0x7F && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}
	return unicode.Is(formerPunctuation, r) || (unicode.IsPunct(r) && !unicode.Is(laterPunctuation, r))
}

var ideographs = &unicode.RangeTable{
	R16: []unicode.Range16{{Lo: 0x3400, Hi: 0x4DBF, Stride: 1}, {Lo: 0x4E00, Hi: 0x9FFF, Stride: 1}, {Lo: 0xF900, Hi: 0xFAFF, Stride: 1}},
	R32: []unicode.Range32{
		{Lo: 0x20000, Hi: 0x2A6DF, Stride: 1}, {Lo: 0x2A700, Hi: 0x2B73F, Stride: 1}, {Lo: 0x2B740, Hi: 0x2B81F, Stride: 1},
		{Lo: 0x2B920, Hi: 0x2CEAF, Stride: 1}, {Lo: 0x2F800, Hi: 0x2FA1F, Stride: 1},
	},
}

func spaceIdeographs(text string) string {
	var out strings.Builder
	for _, r := range text {
		if unicode.Is(ideographs, r) {
			out.WriteString(" " + string(r) + " ")
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// stripAccents decomposes (NFD) and drops the marks.
func stripAccents(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) && !unicode.Is(laterMarks, r) {
			return -1
		}
		return r
	}, norm.NFD.String(text))
}

func lowercase(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r == 'İ' { // the one letter whose lower case is two characters
			out.WriteString("i̇")
			continue
		}
		out.WriteRune(laterLetters.ToLower(r))
	}
	return out.String()
}
