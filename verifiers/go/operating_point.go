package main

import (
	"math"
	"sort"
)

// OperatingPoint says which answer is given at which probabilities.
type OperatingPoint struct {
	Temperature float64            `json:"temperature"`
	Thresholds  map[string]float64 `json:"thresholds"` // label -> the least probability that answers it
	Score       *string            `json:"score"`      // what tells texts in scope from others
	Least       *float64           `json:"least"`      // score below which no answer is given
	Rule        string             `json:"rule"`       // odds or share
}

const (
	minProbability = 1e-30
	maxProbability = 1 - 1e-15
)

func (p *OperatingPoint) decides() bool {
	return p != nil && (len(p.Thresholds) > 0 || (p.Score != nil && p.Least != nil))
}

// choose gives the place of the label that is answered, or -1 for no answer.
func (p *OperatingPoint) choose(labels []string, probabilities, logits []float64, head Head) int {
	if !p.decides() {
		return argmax(probabilities)
	}
	if p.Score != nil && p.Least != nil && p.score(probabilities, logits, head) < *p.Least {
		return -1
	}
	picked, best, lead := -1, -1, -1.0
	for i, label := range labels {
		limit, own := p.Thresholds[label]
		if !own {
			if picked < 0 || probabilities[i] > probabilities[picked] {
				picked = i
			}
			continue
		}
		if probabilities[i] < limit {
			continue
		}
		mine := probabilities[i]
		if p.Rule == "odds" {
			mine = oddsRatio(mine, limit)
		}
		if mine > lead {
			best, lead = i, mine
		}
	}
	if best >= 0 {
		return best
	}
	return picked
}

// score tells how much a text looks as if it were in scope; NaN, which is below nothing, where it is not known.
func (p *OperatingPoint) score(probabilities, logits []float64, head Head) float64 {
	sorted := append([]float64(nil), probabilities...)
	sort.Sort(sort.Reverse(sort.Float64Slice(sorted)))
	switch *p.Score {
	case "confidence":
		return sorted[0]
	case "margin":
		if len(sorted) < 2 {
			return sorted[0]
		}
		return sorted[0] - sorted[1]
	case "entropy":
		sum := 0.0
		for _, v := range probabilities {
			sum += v * math.Log(math.Max(v, minProbability))
		}
		return sum
	case "energy":
		return logSumExp(logits)
	case "prototype":
		if pooled, is := head.(*pooledHead); is {
			return pooled.nearest(logits)
		}
	}
	return math.NaN()
}

// nearest is the cosine to the nearest prototype, from logits.
func (h *pooledHead) nearest(logits []float64) float64 {
	top := math.Inf(-1)
	for i, v := range logits {
		top = math.Max(top, (v-float64(h.bias[i]))/h.scale)
	}
	return top
}

func logSumExp(values []float64) float64 {
	top, sum := values[argmax(values)], 0.0
	for _, v := range values {
		sum += math.Exp(v - top)
	}
	return top + math.Log(sum)
}

func oddsRatio(probability, limit float64) float64 {
	clip := func(v float64) float64 { return math.Min(math.Max(v, minProbability), maxProbability) }
	probability, limit = clip(probability), clip(limit)
	return probability * (1 - limit) / ((1 - probability) * limit)
}

// argmax is the first place of the largest value.
func argmax(values []float64) int {
	best := 0
	for i, v := range values {
		if v > values[best] {
			best = i
		}
	}
	return best
}
