package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
)

const maxHeaderBytes = 100 << 20

// Tensor is a float32 tensor in row-major order.
type Tensor struct {
	Shape []int
	Data  []float32
}

// rows and columns of a matrix; a vector is one row.
func (t *Tensor) size() (int, int) {
	if len(t.Shape) == 2 {
		return t.Shape[0], t.Shape[1]
	}
	return 1, len(t.Data)
}

type tensorEntry struct {
	Dtype   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
}

// readSafetensors reads every floating tensor of a file as float32; tensors of whole numbers are left out.
func readSafetensors(file string) (map[string]*Tensor, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(data) < 8 {
		return nil, fmt.Errorf("%s: no safetensors file: %d bytes", file, len(data))
	}
	length := binary.LittleEndian.Uint64(data)
	if length > maxHeaderBytes || int(length) > len(data)-8 {
		return nil, fmt.Errorf("%s: no safetensors file: a header of %d bytes", file, length)
	}
	var header map[string]json.RawMessage
	if err := json.Unmarshal(data[8:8+length], &header); err != nil {
		return nil, fmt.Errorf("%s: its header: %w", file, err)
	}
	body, tensors := data[8+length:], map[string]*Tensor{}
	for name, raw := range header {
		if name == "__metadata__" {
			continue
		}
		tensor, err := readTensor(raw, body)
		if err != nil {
			return nil, fmt.Errorf("%s: tensor %s: %w", file, name, err)
		}
		if tensor != nil {
			tensors[name] = tensor
		}
	}
	return tensors, nil
}

func readTensor(raw json.RawMessage, body []byte) (*Tensor, error) {
	var entry tensorEntry
	if err := json.Unmarshal(raw, &entry); err != nil {
		return nil, err
	}
	width, decode := chooseDecoder(entry.Dtype)
	if decode == nil {
		if isWhole(entry.Dtype) {
			return nil, nil
		}
		return nil, fmt.Errorf("the type %s is not read here", entry.Dtype)
	}
	count := 1
	for _, size := range entry.Shape {
		if size < 0 || (size > 0 && count > len(body)/size) {
			return nil, fmt.Errorf("a shape that does not fit: %v", entry.Shape)
		}
		count *= size
	}
	start, end := entry.Offsets[0], entry.Offsets[1]
	if start < 0 || end < start || end > len(body) || end-start != count*width {
		return nil, fmt.Errorf("bytes %d to %d do not hold %v of %s", start, end, entry.Shape, entry.Dtype)
	}
	values, bytes := make([]float32, count), body[start:end]
	for i := range values {
		values[i] = decode(bytes[i*width:])
	}
	return &Tensor{entry.Shape, values}, nil
}

func isWhole(dtype string) bool {
	switch dtype {
	case "BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64":
		return true
	}
	return false
}

func chooseDecoder(dtype string) (int, func([]byte) float32) {
	switch dtype {
	case "F32":
		return 4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
	case "F64":
		return 8, func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) }
	case "BF16":
		return 2, func(b []byte) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16) }
	case "F16":
		return 2, func(b []byte) float32 { return decodeHalf(binary.LittleEndian.Uint16(b)) }
	}
	return 0, nil
}

// decodeHalf turns an IEEE 754 half into a float32.
func decodeHalf(bits uint16) float32 {
	sign, exponent, fraction := uint32(bits>>15)<<31, int(bits>>10&31), uint32(bits&1023)
	switch exponent {
	case 0:
		value := float32(fraction) / (1 << 24)
		if sign != 0 {
			return -value
		}
		return value
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | uint32(exponent+112)<<23 | fraction<<13)
}
