#!/usr/bin/env bash
# Runs every fuzz target of the modules in $MODULES for $FUZZTIME each, from its seeds on. go test fuzzes one target at a time.
set -euo pipefail
cd "$(dirname "$0")/.."

found=0
for module in $MODULES; do
	while IFS=: read -r file target; do
		found=$((found + 1))
		echo "fuzz: $target in ${file%/*} for $FUZZTIME"
		(cd "${file%/*}" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" .)
	done < <(grep -rhoHE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' "$module" | sed 's/func //')
done
if ((found == 0)); then
	echo 'fuzz: no targets found' >&2
	exit 1
fi
