#!/usr/bin/env bash
# Builds the verifiers: verifiers/build.sh [go] [js]. What this machine lacks is named and left out; that is no failure.
set -euo pipefail
cd "$(dirname "$0")"
# Debian's packages golang and golang-golang-x-text-dev: the sources lie in this GOPATH.
export GO111MODULE=off GOPATH="${VERIFIER_GOPATH:-/usr/share/gocode}"

build_go() {
  if ! command -v go >/dev/null; then
    echo "go: skipped, there is no Go on this machine (apt-get install golang golang-golang-x-text-dev)"
  elif ! go list golang.org/x/text/unicode/norm >/dev/null 2>&1; then
    echo "go: skipped, golang.org/x/text is missing (apt-get install golang-golang-x-text-dev)"
  else
    (cd go && go vet . && go build -o verify .)
    echo "go: verifiers/go/verify"
  fi
}

build_js() {
  if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
    echo "js: skipped, there is no Node with npm on this machine (Node 20 or later)"
  elif [ -d js/node_modules/onnxruntime-node ] && [ js/node_modules -nt js/package-lock.json ]; then
    echo "js: verifiers/js/verify.mjs"
  elif (cd js && npm ci --silent >/dev/null 2>&1); then
    touch js/node_modules
    echo "js: verifiers/js/verify.mjs"
  else
    rm -rf js/node_modules
    echo "js: skipped, the packages of verifiers/js/package-lock.json could not be installed"
  fi
}

for part in "${@:-go js}"; do
  for one in $part; do "build_$one"; done
done
