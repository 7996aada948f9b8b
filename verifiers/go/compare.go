package main

import (
	"math"
	"strings"
)

// compareGoldens compares every stage of every golden with what was recomputed.
func compareGoldens(model *Model, certificate *Certificate, goldens []*Golden, made []*outputs, to *Comparison) {
	limits := tolerances[certificate.Class]
	for i, golden := range goldens {
		compareTokens(golden, made[i], to)
		if made[i].problem != nil {
			to.addProblem(stageEmbedding, "%s: %v", golden.ID, made[i].problem)
			continue
		}
		compareStates(golden, made[i], limits, to)
		compareOutputs(golden, made[i], limits, to)
		compareLabels(model, golden, made[i], limits, to)
		compareAnswer(model, golden, made[i], limits, to)
	}
	compareQuantile(limits, to)
	if limits.ByEvidence {
		checkEvidence(certificate, to)
	}
}

func compareTokens(golden *Golden, made *outputs, to *Comparison) {
	same := len(golden.Tokens) == len(made.tokens)
	for i := 0; same && i < len(made.tokens); i++ {
		same = golden.Tokens[i] == made.tokens[i]
	}
	to.addGolden(stageTokens, golden.ID, same)
}

func compareStates(golden *Golden, made *outputs, limits Tolerance, to *Comparison) {
	if len(golden.Layers) > 0 && len(golden.Layers) != len(made.layers) {
		to.addProblem(layerStage(minInt(len(golden.Layers), len(made.layers))), "the model has %d layers, the goldens %d",
			len(made.layers)-1, len(golden.Layers)-1)
	}
	for k := 0; k < minInt(len(golden.Layers), len(made.layers)); k++ {
		compareVector(layerStage(k), golden.ID, golden.Layers[k], made.layers[k], limits.Checksum, to)
	}
	if golden.Pooled != nil && made.pooled != nil {
		compareVector(stagePooled, golden.ID, golden.Pooled, made.pooled, limits.Checksum, to)
	}
}

func compareVector(stage, id string, expected, found []float64, limit float64, to *Comparison) {
	worst := relativeDifference(expected, found)
	to.addNumber(stage, id, worst, limit)
	to.addGolden(stage, id, worst <= limit)
}

// relativeDifference is the largest one, in units of max(1, |expected|); infinite where the lengths differ.
func relativeDifference(expected, found []float64) float64 {
	if len(expected) != len(found) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range expected {
		worst = worse(worst, math.Abs(expected[i]-found[i])/math.Max(1, math.Abs(expected[i])))
	}
	return worst
}

// worse is the larger one; what is not a number is worse than any.
func worse(a, b float64) float64 {
	if math.IsNaN(b) {
		return math.Inf(1)
	}
	return math.Max(a, b)
}

func compareOutputs(golden *Golden, made *outputs, limits Tolerance, to *Comparison) {
	if len(golden.Logits) != len(made.logits) || len(golden.Probabilities) != len(made.probabilities) {
		to.addGolden(stageLogits, golden.ID, false)
		to.addProblem(stageLogits, "%s: %d rows of outputs, the golden has %d", golden.ID, len(made.logits), len(golden.Logits))
		return
	}
	worst := 0.0
	for i := range golden.Logits {
		worst = worse(worst, relativeDifference(golden.Logits[i], made.logits[i]))
	}
	to.addNumber(stageLogits, golden.ID, worst, limits.Checksum)
	to.addGolden(stageLogits, golden.ID, worst <= limits.Checksum)
	difference := largestDifference(golden.Probabilities, made.probabilities)
	to.addNumber(stageProbabilities, golden.ID, difference, limits.Probability)
	to.addGolden(stageProbabilities, golden.ID, difference <= limits.Probability)
	to.dps = append(to.dps, difference)
}

// largestDifference between two tables of probabilities; infinite where their shapes differ.
func largestDifference(a, b [][]float64) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	worst := 0.0
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return math.Inf(1)
		}
		for j := range a[i] {
			worst = worse(worst, math.Abs(a[i][j]-b[i][j]))
		}
	}
	return worst
}

func compareQuantile(limits Tolerance, to *Comparison) {
	result := to.at(stageProbabilities)
	result.Quantile = quantile(to.dps, 0.99)
	if result.Quantile > limits.Quantile {
		to.addProblem(stageProbabilities, "1 in 100 goldens is farther off than %.2g, and %.2g is tolerated", result.Quantile, limits.Quantile)
	}
}

func compareLabels(model *Model, golden *Golden, made *outputs, limits Tolerance, to *Comparison) {
	labels := model.Facts.Labels
	if len(golden.Probabilities) == 0 || len(golden.Probabilities) != len(made.probabilities) {
		return
	}
	same := true
	for i, row := range golden.Probabilities {
		found := made.probabilities[i]
		if len(found) != len(row) || len(row) != len(labels) {
			to.addProblem(stageLabels, "%d labels, and outputs for %d", len(labels), len(found))
			return
		}
		if argmax(row) != argmax(found) && margin(row) >= limits.LabelMargin {
			same = false
		}
	}
	if name, is := golden.label(); is && same && golden.Rows <= 1 && !golden.Abstained && !model.Facts.OperatingPoint.decides() && model.classifies() {
		same = name == labels[argmax(golden.Probabilities[0])]
	}
	to.addGolden(stageLabels, golden.ID, same)
}

// margin is the lead of the likeliest label over the second.
func margin(row []float64) float64 {
	best := argmax(row)
	second := 0.0
	for i, v := range row {
		if i != best {
			second = math.Max(second, v)
		}
	}
	return row[best] - second
}

// classifies tells whether an answer is one label of the whole text.
func (m *Model) classifies() bool {
	kind, named := m.Facts.Task["kind"].(string)
	_, perToken := m.Head.(*tokenHead)
	return !perToken && (!named || strings.HasPrefix(kind, "classify"))
}

func compareAnswer(model *Model, golden *Golden, made *outputs, limits Tolerance, to *Comparison) {
	expected, is := golden.label()
	if !is || !model.classifies() || model.Facts.HasSpanRules {
		to.at(stageAnswer).NotChecked = "answers that are no label are not recomputed by this program"
		return
	}
	if golden.Rows > 1 || len(made.probabilities) != 1 || len(made.probabilities[0]) != len(model.Facts.Labels) {
		return
	}
	place := model.Facts.OperatingPoint.choose(model.Facts.Labels, made.probabilities[0], made.logits[0], model.Head)
	found := ""
	if place >= 0 {
		found = model.Facts.Labels[place]
	}
	same := found == expected && (place < 0) == golden.Abstained
	to.addGolden(stageAnswer, golden.ID, same || limits.ByEvidence || isNear(golden, made, limits))
}

// isNear tells whether the likeliest label is another one for the closeness of the two likeliest alone.
func isNear(golden *Golden, made *outputs, limits Tolerance) bool {
	if len(golden.Probabilities) != 1 {
		return false
	}
	row := golden.Probabilities[0]
	return argmax(row) != argmax(made.probabilities[0]) && margin(row) < limits.LabelMargin
}

// checkEvidence asks of a quantised form what it lost on the evidence split.
func checkEvidence(certificate *Certificate, to *Comparison) {
	accuracy := certificate.Measured.Accuracy
	switch {
	case accuracy == nil || accuracy.Rows == 0:
		to.addProblem(stageLabels, "a quantised form is judged by its accuracy, and the certificate has none")
	case accuracy.Low < -math.Min(math.Abs(accuracy.Margin), maxMargin):
		to.addProblem(stageLabels, "accuracy may be lower by %.4f, and %.4f is allowed", -accuracy.Low, math.Min(math.Abs(accuracy.Margin), maxMargin))
	}
}

func minInt(a, b int) int {
	if a < b {
		return a
	}
	return b
}
