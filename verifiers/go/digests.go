package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
)

// checkDigests compares every file with its digest, and the certificate with its own.
func checkDigests(folder string, certificate *Certificate, to *Comparison) error {
	there, err := listFiles(folder)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(certificate.Files) {
		if !there[name] {
			to.addGolden(stageDigest, name, false)
			to.addProblem(stageDigest, "the file %s is missing", name)
			continue
		}
		found, err := digestFile(filepath.Join(folder, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		same := found == certificate.Files[name]
		to.addGolden(stageDigest, name, same)
		if !same {
			to.addProblem(stageDigest, "the file %s is not the one that was certified", name)
		}
		delete(there, name)
	}
	for _, name := range sortedKeys(there) {
		to.addProblem(stageDigest, "the file %s is not listed", name)
	}
	checkOwnDigest(certificate, to)
	return nil
}

func checkOwnDigest(certificate *Certificate, to *Comparison) {
	if digestWithout(certificate.whole, "digest") != certificate.Digest {
		to.addProblem(stageDigest, "the certificate was changed: its own digest does not fit")
	}
	if certificate.Files[certificate.Goldens.File] == "" || certificate.Files[certificate.Goldens.File] != certificate.Goldens.Digest {
		to.addProblem(stageDigest, "the goldens have another digest than the file %q", certificate.Goldens.File)
	}
	if !certificate.Passed {
		stage := "an unnamed stage"
		if certificate.Stage != nil {
			stage = *certificate.Stage
		}
		to.addProblem(stageDigest, "the certificate says itself that this form did not pass, at %s", stage)
	}
	if certificate.Class != "exact" && certificate.Chain.ExactMember == nil {
		to.addProblem(stageDigest, "a form of the class %s must name the exact member of its chain, and names none", certificate.Class)
	}
}

// listFiles names what lies in a folder, the certificate and the manifest aside.
func listFiles(folder string) (map[string]bool, error) {
	there := map[string]bool{}
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if name = filepath.ToSlash(name); name != certificateFile && name != manifestFile {
			there[name] = true
		}
		return err
	})
	return there, err
}

func digestFile(file string) (string, error) {
	opened, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer opened.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, opened); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func sortedKeys[V any](table map[string]V) []string {
	keys := make([]string, 0, len(table))
	for key := range table {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
