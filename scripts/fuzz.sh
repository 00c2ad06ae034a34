#!/usr/bin/env bash
# Runs every fuzz target of the modules in $MODULES for $FUZZTIME each, from its seeds on. go test fuzzes one target at a time.
set -euo pipefail
cd "$(dirname "$0")/.."

# fuzz runs a target. Where processors are scarce go test may call a worker that it had to stop a failure ("context deadline exceeded", and no input
# that fails); that says nothing about the target, so it has another go. An input that fails, and a target that hangs, fail at once.
fuzz() {
	local log
	log=$(mktemp)
	for _ in 1 2 3; do
		if go test -run '^$' -fuzz "^$1\$" -fuzztime "$FUZZTIME" . >"$log" 2>&1; then
			tail -n 3 "$log"
			rm "$log"
			return
		fi
		grep -qE '^ +context deadline exceeded$' "$log" && ! grep -qE 'Failing input|hung or terminated' "$log" || break
	done
	cat "$log"
	rm "$log"
	return 1
}

found=0
for module in $MODULES; do
	while IFS=: read -r file target; do
		found=$((found + 1))
		echo "fuzz: $target in ${file%/*} for $FUZZTIME"
		(cd "${file%/*}" && fuzz "$target")
	done < <(grep -rhoHE '^func Fuzz[A-Za-z0-9_]+' --include='*_test.go' "$module" | sed 's/func //')
done
if ((found == 0)); then
	echo 'fuzz: no targets found' >&2
	exit 1
fi
