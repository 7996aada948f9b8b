package main

import (
	"path/filepath"
	"runtime"
	"sort"
	"sync"
)

const minGoldens, minBatches = 8, 2 // fewer prove nothing, whoever wrote the certificate

// outputs are what this program makes of one text.
type outputs struct {
	tokens        []int
	layers        [][]float64
	pooled        []float64
	logits        [][]float64
	probabilities [][]float64
	problem       error // an id or a position that the model has no row for
}

// verify recomputes a certificate. It gives an error where the folder cannot be read or is of a form that this program
// does not run.
func verify(folder string) (*Certificate, *Comparison, error) {
	certificate, err := readCertificate(folder)
	if err != nil {
		return nil, nil, err
	}
	to := newComparison()
	to.locating = tolerances[certificate.Class].Locating
	if err := checkDigests(folder, certificate, to); err != nil {
		return nil, nil, err
	}
	if to.firstFailure() != nil { // what has another digest is not opened
		return certificate, to, nil
	}
	file, err := locate(folder, certificate.Goldens.File)
	if err != nil {
		return nil, nil, err
	}
	goldens, batches, err := readGoldens(file)
	if err != nil {
		return nil, nil, err
	}
	checkCounts(certificate, goldens, batches, to)
	model, err := openModel(filepath.Clean(folder), certificate, to)
	if err != nil {
		return nil, nil, err
	}
	made := runGoldens(model, goldens)
	compareGoldens(model, certificate, goldens, made, to)
	runBatches(model, certificate, batches, goldens, made, to)
	return certificate, to, nil
}

func checkCounts(certificate *Certificate, goldens, batches []*Golden, to *Comparison) {
	claimed := certificate.Goldens
	if len(goldens) < minGoldens || len(batches) < minBatches {
		to.addProblem(stageDigest, "%d goldens in %d batches prove nothing", len(goldens), len(batches))
	}
	if len(goldens) != claimed.Count || len(batches) != claimed.Batches {
		to.addProblem(stageDigest, "%d goldens and %d batches, and the certificate counts %d and %d",
			len(goldens), len(batches), claimed.Count, claimed.Batches)
	}
}

// runGoldens runs every golden alone, the longest first, on all processors.
func runGoldens(model *Model, goldens []*Golden) []*outputs {
	made := make([]*outputs, len(goldens))
	for i, golden := range goldens {
		made[i] = &outputs{tokens: model.encode(golden.Text)}
	}
	order := make([]int, len(goldens))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return len(made[order[a]].tokens) > len(made[order[b]].tokens) })
	forEach(len(order), func(i int) { model.run(made[order[i]]) })
	return made
}

// forEach calls work for 0 to count - 1, on as many threads as there are processors.
func forEach(count int, work func(int)) {
	places := make(chan int)
	var group sync.WaitGroup
	for worker := 0; worker < runtime.GOMAXPROCS(0); worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for place := range places {
				work(place)
			}
		}()
	}
	for place := 0; place < count; place++ {
		places <- place
	}
	close(places)
	group.Wait()
}

// encode gives a text's ids; a text without a single one is one padding token.
func (m *Model) encode(text string) []int {
	if ids := m.Tokenizer.encode(text); len(ids) > 0 {
		return ids
	}
	return []int{m.Facts.PadID}
}

func (m *Model) run(to *outputs) {
	width, tokens := m.Encoder.Config.Width, len(to.tokens)
	states, err := m.Encoder.run(wholeRow(to.tokens), func(layer int, states []float32) {
		to.layers = append(to.layers, checksum(states, width))
	})
	if err != nil {
		to.problem = err
		return
	}
	pooled, logits := m.Head.apply(states, tokens)
	if pooled != nil {
		to.pooled = checksum(pooled, width)
	}
	to.logits, to.probabilities = logits, m.temper(logits)
}

// temper gives the probabilities of logits, at the model's temperature.
func (m *Model) temper(logits [][]float64) [][]float64 {
	temperature := 1.0
	if m.Facts.Temperature != nil {
		temperature = *m.Facts.Temperature
	}
	rows := make([][]float64, len(logits))
	for i, row := range logits {
		scaled := make([]float64, len(row))
		for j, v := range row {
			scaled[j] = v / temperature
		}
		rows[i] = softmax(scaled)
	}
	return rows
}

// runBatches pads the members of a batch itself, and compares what each is in company with what it is alone.
func runBatches(model *Model, certificate *Certificate, batches, goldens []*Golden, alone []*outputs, to *Comparison) {
	places := map[string]int{}
	for i, golden := range goldens {
		places[golden.ID] = i
	}
	limit := tolerances[certificate.Class].Batch
	var jobs []batchRow
	for _, batch := range batches {
		length := 0
		for _, id := range batch.Members {
			place, known := places[id]
			if !known {
				to.addProblem(stageBatch, "%s names %s, which is no golden", batch.ID, id)
				continue
			}
			length = maxInt(length, len(alone[place].tokens))
		}
		for _, id := range batch.Members {
			if place, known := places[id]; known && alone[place].problem == nil {
				jobs = append(jobs, batchRow{batch.ID + "/" + id, alone[place], length, 0})
			}
		}
	}
	forEach(len(jobs), func(i int) { jobs[i].difference = model.runPadded(jobs[i].alone, jobs[i].length) })
	for _, job := range jobs {
		to.addNumber(stageBatch, job.name, job.difference, limit)
		to.addGolden(stageBatch, job.name, job.difference <= limit)
	}
}

type batchRow struct {
	name       string
	alone      *outputs
	length     int
	difference float64
}

// runPadded gives the largest difference of a probability between a text alone and the same text padded to a length.
func (m *Model) runPadded(alone *outputs, length int) float64 {
	row := padRow(alone.tokens, length, m.Facts.PadID, m.padLeft)
	states, err := m.Encoder.run(row, func(int, []float32) {})
	if err != nil {
		return 1
	}
	width := m.Encoder.Config.Width
	_, logits := m.Head.apply(states[row.First*width:row.Last*width], row.Last-row.First)
	return largestDifference(m.temper(logits), alone.probabilities)
}

func padRow(ids []int, length, pad int, left bool) tokenRow {
	padding := make([]int, maxInt(0, length-len(ids)))
	for i := range padding {
		padding[i] = pad
	}
	if left {
		return tokenRow{append(padding, ids...), len(padding), length}
	}
	return tokenRow{append(append([]int(nil), ids...), padding...), 0, len(ids)}
}

func maxInt(a, b int) int {
	if a > b {
		return a
	}
	return b
}
