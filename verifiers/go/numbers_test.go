package main

import (
	"encoding/binary"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestMatrix(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, shape := range [][3]int{{1, 3, 2}, {4, 8, 5}, {7, 33, 6}, {9, 16, 1}} {
		rows, inputs, outputs := shape[0], shape[1], shape[2]
		x, m := randomValues(random, rows*inputs), Matrix{outputs, inputs, randomValues(random, outputs*inputs), randomValues(random, outputs)}
		found := m.apply(x, rows)
		for i := 0; i < rows; i++ {
			for j := 0; j < outputs; j++ {
				expected := float64(m.Bias[j])
				for k := 0; k < inputs; k++ {
					expected += float64(x[i*inputs+k]) * float64(m.Weight[j*inputs+k])
				}
				if math.Abs(float64(found[i*outputs+j])-expected) > 1e-5 {
					t.Errorf("%v at %d, %d: %v, expected %v", shape, i, j, found[i*outputs+j], expected)
				}
			}
		}
	}
}

func randomValues(random *rand.Rand, count int) []float32 {
	values := make([]float32, count)
	for i := range values {
		values[i] = float32(random.NormFloat64())
	}
	return values
}

func TestChecksum(t *testing.T) {
	states, width := randomValues(rand.New(rand.NewSource(2)), 15), 5
	for k, found := range checksum(states, width) {
		expected := 0.0
		for i, v := range states {
			row, column := float64(i/width+1), float64(i%width+1)
			expected += float64(v) * math.Cos(0.7*float64(k+1)*row+0.31*float64(2*(k+1)+1)*column)
		}
		if expected /= math.Sqrt(15); math.Abs(found-expected) > 1e-12 {
			t.Errorf("c_%d: %v, expected %v", k+1, found, expected)
		}
	}
}

func TestDecodeHalf(t *testing.T) {
	for bits, expected := range map[uint16]float32{
		0x0000: 0, 0x3C00: 1, 0xC000: -2, 0x7BFF: 65504, 0x0400: 1.0 / 16384, 0x0001: 1.0 / (1 << 24), 0x8001: -1.0 / (1 << 24),
	} {
		if found := decodeHalf(bits); found != expected {
			t.Errorf("%04x: %v, expected %v", bits, found, expected)
		}
	}
	if !math.IsInf(float64(decodeHalf(0x7C00)), 1) || !math.IsNaN(float64(decodeHalf(0x7C01))) {
		t.Error("infinity and NaN")
	}
}

func TestReadSafetensors(t *testing.T) {
	good := `{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "n": {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]}}`
	tensors, err := readSafetensors(writeSafetensors(t, good, 16))
	if err != nil || len(tensors) != 1 || !reflect.DeepEqual(tensors["a"].Shape, []int{2}) {
		t.Fatalf("%v, %v", tensors, err)
	}
	for _, header := range []string{
		`{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}`,
		`{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 24]}}`,
		`{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}`,
		`{"a": {"dtype": "F32", "shape": [4611686018427387904, 4], "data_offsets": [0, 8]}}`,
		`{"a": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}`,
		`{"a": `,
	} {
		if _, err := readSafetensors(writeSafetensors(t, header, 16)); err == nil {
			t.Errorf("%s was read", header)
		}
	}
}

func writeSafetensors(t *testing.T, header string, body int) string {
	t.Helper()
	data := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	file := filepath.Join(t.TempDir(), "model.safetensors")
	if err := os.WriteFile(file, append(append(data, header...), make([]byte, body)...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestQuantile(t *testing.T) {
	values := make([]float64, 200)
	for i := range values {
		values[i] = float64(i)
	}
	if found := quantile(values, 0.99); found != 198 {
		t.Errorf("%v", found)
	}
}
