package main

import "math"

// Tolerance is what this program grants a class of forms. It is never read from the folder.
type Tolerance struct {
	Checksum    float64 // of states, and of logits, times max(1, |expected|)
	Locating    float64 // where the error of a form that fails began
	Probability float64 // the largest difference
	Quantile    float64 // that of 99 in 100 differences
	Batch       float64 // between a text alone and in company
	LabelMargin float64 // labels may differ where the two likeliest are nearer than this
	ByEvidence  bool    // labels may differ as far as the certified accuracy says
}

var tolerances = map[string]Tolerance{
	"exact":     {Checksum: 1e-3, Locating: 1e-4, Probability: 1e-4, Quantile: 2e-5, Batch: 1e-4, LabelMargin: 2e-4},
	"reduced":   {Checksum: 5e-2, Locating: 3e-3, Probability: 2e-2, Quantile: 1e-2, Batch: 2e-3, LabelMargin: 2e-2},
	"quantised": {Checksum: math.Inf(1), Locating: 0.3, Probability: 1, Quantile: 0.35, Batch: 1e-2, LabelMargin: 1, ByEvidence: true},
}

// maxMargin is the most that a quantised form may lose of its accuracy, whatever its certificate allows.
const maxMargin = 0.05
