package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// writeTable prints a line for every stage: the largest difference, what is tolerated, and the golden where it is.
func writeTable(to io.Writer, certificate *Certificate, comparison *Comparison) {
	fmt.Fprintf(to, "format %s, class %s, family %s, head %s\n", certificate.Format, certificate.Class, certificate.Model.Family, certificate.Model.Head)
	fmt.Fprintf(to, "%-14s %9s %10s %12s %10s  %s\n", "stage", "compared", "different", "largest", "tolerated", "where")
	for _, result := range comparison.results() {
		fmt.Fprintf(to, "%-14s %9d %10d %12s %10s  %s\n", result.Stage, result.Compared, result.Different,
			showNumber(result, result.Difference), showNumber(result, result.Tolerance), result.Golden)
		if result.NotChecked != "" {
			fmt.Fprintf(to, "%14s not compared: %s\n", "", result.NotChecked)
		}
		if result.Problem != "" {
			fmt.Fprintf(to, "%14s %s\n", "", result.Problem)
		}
	}
	if stage := comparison.divergence(); stage != "" {
		fmt.Fprintf(to, "REFUSED: the first stage that differs is %s\n", stage)
		return
	}
	fmt.Fprintln(to, "passed: every stage is within the tolerance")
}

func showNumber(result *StageResult, value float64) string {
	if result.Tolerance == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2e", value)
}

// writeJSON prints the same as one object.
func writeJSON(to io.Writer, certificate *Certificate, comparison *Comparison) error {
	var stage *string
	if named := comparison.divergence(); named != "" {
		stage = &named
	}
	for _, result := range comparison.results() { // JSON has no infinity
		result.Difference = math.Min(result.Difference, math.MaxFloat64)
		result.Tolerance = math.Min(result.Tolerance, math.MaxFloat64)
	}
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(map[string]any{
		"verifier": "go", "format": certificate.Format, "tolerance_class": certificate.Class,
		"passed": stage == nil, "stage": stage, "stages": comparison.results(),
	})
}
