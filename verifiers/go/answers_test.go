package main

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestChoose(t *testing.T) {
	labels, probabilities, logits := []string{"a", "b", "c"}, []float64{0.2, 0.5, 0.3}, []float64{1, 2, 1.5}
	head := &pooledHead{scale: 2, bias: []float32{0, 0, 0}}
	for _, test := range []struct {
		name, point string
		expected    int
	}{
		{"none", `null`, 1},
		{"one that decides nothing", `{"thresholds": {}, "score": null, "least": null}`, 1},
		{"a threshold that is reached", `{"thresholds": {"a": 0.1}, "rule": "odds"}`, 0},
		{"a threshold that is not", `{"thresholds": {"b": 0.6}, "rule": "odds"}`, 2},
		{"the larger odds ratio", `{"thresholds": {"a": 0.05, "b": 0.4}, "rule": "odds"}`, 0},
		{"the larger share", `{"thresholds": {"a": 0.05, "b": 0.4}, "rule": "share"}`, 1},
		{"none of all thresholds", `{"thresholds": {"a": 0.9, "b": 0.9, "c": 0.9}, "rule": "odds"}`, -1},
		{"too little confidence", `{"score": "confidence", "least": 0.6}`, -1},
		{"enough margin", `{"score": "margin", "least": 0.15}`, 1},
		{"too much entropy", `{"score": "entropy", "least": -0.5}`, -1},
		{"enough energy", `{"score": "energy", "least": 2.6}`, 1},
		{"too little energy", `{"score": "energy", "least": 2.7}`, -1},
		{"too far from every prototype", `{"score": "prototype", "least": 1.01}`, -1},
	} {
		var point *OperatingPoint
		if err := json.Unmarshal([]byte(test.point), &point); err != nil {
			t.Fatal(err)
		}
		if found := point.choose(labels, probabilities, logits, head); found != test.expected {
			t.Errorf("%s: %d, expected %d", test.name, found, test.expected)
		}
	}
}

func TestGoldenLabel(t *testing.T) {
	for raw, expected := range map[string]string{`"x"`: "x", `{"label": "x"}`: "x", `null`: "", ``: ""} {
		golden := Golden{Answer: json.RawMessage(raw)}
		if found, is := golden.label(); !is || found != expected {
			t.Errorf("%s: %q, %v", raw, found, is)
		}
	}
	spans := Golden{Answer: json.RawMessage(`{"spans": []}`)}
	if _, is := spans.label(); is {
		t.Error("spans are no label")
	}
}

func TestNumberRows(t *testing.T) {
	for raw, expected := range map[string]numberRows{"[1, 2]": {{1, 2}}, "[[1], [2]]": {{1}, {2}}, "null": nil} {
		var found numberRows
		if err := json.Unmarshal([]byte(raw), &found); err != nil || !reflect.DeepEqual(found, expected) {
			t.Errorf("%s: %v, %v", raw, found, err)
		}
	}
}

func TestCanonicalForm(t *testing.T) {
	for text, expected := range map[string]string{
		`{"b": 1.0, "a": [true, null, -2e-05]}`:                 `{"a":[true,null,-2e-05],"b":1.0}`,
		`{"é": "\u00e9\n\u0001/<", "\ud83d\ude00": {}}`:         `{"é":"é\n\u0001/<","😀":{}}`,
		`{"\uffee": 1, "\ud83d\ude00": 2, "a": "\u2028\u007f"}`: "{\"a\":\"\u2028\u007f\",\"\uffee\":1,\"😀\":2}",
	} {
		value, err := decodeJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if found := string(appendCanonical(nil, value)); found != expected {
			t.Errorf("%s, expected %s", found, expected)
		}
	}
}

func TestDivergence(t *testing.T) {
	for _, test := range []struct {
		name     string
		fill     func(*Comparison)
		expected string
	}{
		{"nothing differs", func(c *Comparison) { c.addNumber("layer 1", "x", 1e-5, 1e-3); c.addGolden("layer 1", "x", true) }, ""},
		{"the first stage that is over", func(c *Comparison) {
			c.addGolden(stageAnswer, "x", false)
			c.addGolden("layer 10", "x", false)
			c.addNumber("layer 10", "x", 1, 1e-3)
			c.addNumber("layer 2", "x", 1e-5, 1e-3)
		}, "layer 10"},
		{"where it began, within the tolerance", func(c *Comparison) {
			c.addNumber(stageEmbedding, "x", 5e-4, 1e-3)
			c.addNumber(stageProbabilities, "x", 2e-3, 1e-4)
			c.addGolden(stageProbabilities, "x", false)
		}, stageEmbedding},
		{"an answer is not traced back", func(c *Comparison) {
			c.addNumber(stageEmbedding, "x", 5e-4, 1e-3)
			c.addGolden(stageAnswer, "x", false)
		}, stageAnswer},
		{"a problem in words", func(c *Comparison) { c.addProblem(stageLabels, "they changed places") }, stageLabels},
	} {
		comparison := newComparison()
		comparison.locating = 1e-4
		test.fill(comparison)
		if found := comparison.divergence(); found != test.expected {
			t.Errorf("%s: %q, expected %q", test.name, found, test.expected)
		}
	}
}

func TestLocate(t *testing.T) {
	for name, allowed := range map[string]bool{"a.json": true, "merged/a": true, "..": false, "../a": false, "a/../../b": false, "/etc/passwd": false, "": false} {
		if _, err := locate("folder", name); (err == nil) != allowed {
			t.Errorf("%q: %v", name, err)
		}
	}
}
