package main

import (
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
)

// The stages in the order in which they are compared; the states of a layer stand between embedding and pooled.
const (
	stageDigest        = "digest"
	stageTokens        = "tokens"
	stageEmbedding     = "embedding"
	stagePooled        = "pooled"
	stageLogits        = "logits"
	stageProbabilities = "probabilities"
	stageLabels        = "labels"
	stageAnswer        = "answer"
	stageBatch         = "batch"
)

// layerStage names the stage of a checksum: 0 is the embedding, k the output of encoder layer k.
func layerStage(place int) string {
	if place == 0 {
		return stageEmbedding
	}
	return "layer " + strconv.Itoa(place)
}

// stageOrder sorts stages as they follow one another in the model.
func stageOrder(stage string) int {
	fixed := map[string]int{
		stageDigest: 0, stageTokens: 1, stageEmbedding: 2, stagePooled: 100_000, stageLogits: 100_001,
		stageProbabilities: 100_002, stageLabels: 100_003, stageAnswer: 100_004, stageBatch: 100_005,
	}
	if place, known := fixed[stage]; known {
		return place
	}
	layer, _ := strconv.Atoi(strings.TrimPrefix(stage, "layer "))
	return 2 + layer
}

// StageResult is what was compared at one stage, over all goldens.
type StageResult struct {
	Stage      string  `json:"stage"`
	Compared   int     `json:"compared"`              // goldens (of digest: files)
	Different  int     `json:"different"`             // over the tolerance, or not equal
	Difference float64 `json:"difference"`            // the largest
	Tolerance  float64 `json:"tolerance"`             // 0: must be equal
	Quantile   float64 `json:"q99,omitempty"`         // of probabilities
	Golden     string  `json:"golden,omitempty"`      // where the largest difference is
	Problem    string  `json:"problem,omitempty"`     // in words, where numbers do not say it
	NotChecked string  `json:"not_checked,omitempty"` // why this stage was not compared
}

func (r *StageResult) failed() bool { return r.Different > 0 || r.Problem != "" }

// Comparison collects the results of all stages.
type Comparison struct {
	stages   map[string]*StageResult
	locating float64   // a stage this far off is where a form went astray, once it is known that it did
	dps      []float64 // the largest |difference of a probability| of every golden
}

func newComparison() *Comparison { return &Comparison{stages: map[string]*StageResult{}} }

func (c *Comparison) at(stage string) *StageResult {
	if c.stages[stage] == nil {
		c.stages[stage] = &StageResult{Stage: stage}
	}
	return c.stages[stage]
}

// addNumber notes one difference of a golden at a stage.
func (c *Comparison) addNumber(stage, golden string, difference, tolerance float64) {
	result := c.at(stage)
	if tolerance > result.Tolerance {
		result.Tolerance = tolerance
	}
	if difference > result.Difference || result.Golden == "" || math.IsNaN(difference) {
		result.Difference, result.Golden = difference, golden
	}
}

// addGolden counts a golden that was compared at a stage.
func (c *Comparison) addGolden(stage, golden string, same bool) {
	result := c.at(stage)
	result.Compared++
	if !same {
		result.Different++
		if result.Golden == "" {
			result.Golden = golden
		}
	}
}

// addProblem notes in words what differs; the first one stays.
func (c *Comparison) addProblem(stage, format string, values ...any) {
	if result := c.at(stage); result.Problem == "" {
		result.Problem = fmt.Sprintf(format, values...)
	}
}

// results lists the stages in their order.
func (c *Comparison) results() []*StageResult {
	listed := make([]*StageResult, 0, len(c.stages))
	for _, result := range c.stages {
		listed = append(listed, result)
	}
	sort.Slice(listed, func(i, j int) bool { return stageOrder(listed[i].Stage) < stageOrder(listed[j].Stage) })
	return listed
}

// firstFailure is the first stage that is over its tolerance; nil where none is.
func (c *Comparison) firstFailure() *StageResult {
	for _, result := range c.results() {
		if result.failed() {
			return result
		}
	}
	return nil
}

// divergence names the stage in which a form that fails went astray: the first one that is farther off than honest
// arithmetic is, which may be one within its tolerance. It is empty where nothing fails.
func (c *Comparison) divergence() string {
	failed := c.firstFailure()
	if failed == nil {
		return ""
	}
	switch failed.Stage {
	case stageDigest, stageTokens, stageAnswer, stageBatch:
		return failed.Stage
	}
	for _, result := range c.results() {
		if result == failed || (result.Tolerance > 0 && result.Difference > c.locating) {
			return result.Stage
		}
	}
	return failed.Stage
}

// quantile is the smallest of the values that at least a share of them does not exceed.
func quantile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := append([]float64(nil), values...)
	sort.Float64s(sorted)
	return sorted[int(math.Ceil(share*float64(len(sorted)-1)))]
}
