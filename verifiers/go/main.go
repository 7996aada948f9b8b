// Command verify recomputes the certificate of an exported model, without Python: it reads the folder's tokenizer and
// weights, runs the encoder on every golden text, and compares each stage with what was measured.
//
//	verify [-json] FOLDER
//
// It ends with 0 where every stage is within this program's tolerance, 1 where one is not, and 2 where the folder
// cannot be read or is of a form that this program does not run.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

const (
	exitPassed     = 0
	exitRefused    = 1
	exitUnreadable = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(arguments []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.SetOutput(stderr)
	asJSON := flags.Bool("json", false, "print one JSON object in the place of the table")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "verify [-json] FOLDER: recompute the certificate of an exported model")
		flags.PrintDefaults()
	}
	if flags.Parse(arguments) != nil || flags.NArg() != 1 {
		flags.Usage()
		return exitUnreadable
	}
	certificate, comparison, err := verify(flags.Arg(0))
	if err != nil {
		fmt.Fprintln(stderr, "cannot verify:", err)
		return exitUnreadable
	}
	if *asJSON {
		if err := writeJSON(stdout, certificate, comparison); err != nil {
			fmt.Fprintln(stderr, err)
			return exitUnreadable
		}
	} else {
		writeTable(stdout, certificate, comparison)
	}
	if comparison.firstFailure() != nil {
		return exitRefused
	}
	return exitPassed
}
