#!/usr/bin/env bash
# Fails if writing generated code, go.mod files and formatting again changes anything, or if a message changed incompatibly.
# The comparison is with the files as they were a moment ago, committed or not. What was corrected is left in place.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# snapshot prints the id of a git tree with every file that is not ignored. Index and new objects live in $work, so the
# repository itself is not written to.
mkdir "$work/objects"
objects=$(git rev-parse --path-format=absolute --git-path objects)
scratch() {
	GIT_INDEX_FILE=$work/index GIT_OBJECT_DIRECTORY=$work/objects GIT_ALTERNATE_OBJECT_DIRECTORIES=$objects git "$@"
}
snapshot() {
	scratch add -A .
	scratch write-tree
}

tidy() {
	echo "verify: go mod tidy in $1"
	(cd "$1" && GOWORK=off go mod tidy)
}

# breaking compares the messages with those of a commit, under today's buf.yaml.
breaking() {
	if [[ -z $(git ls-tree -r --name-only "$1" -- proto | grep '\.proto$') ]]; then
		echo "verify: no messages in $2 to compare with"
		return
	fi
	echo "verify: messages against $2"
	mkdir "$work/against"
	git archive "$1" proto | tar -x -C "$work/against"
	cp buf.yaml "$work/against"
	bin/tools/buf breaking --against "$work/against"
}

before=$(snapshot)

echo 'verify: generate'
make generate
for module in $MODULES tools tools/buf tools/postgres_exporter; do
	tidy "$module"
done
echo 'verify: gofmt'
# shellcheck disable=SC2086 # a list of directories
"$(go env GOROOT)/bin/gofmt" -w $MODULES

after=$(snapshot)
if [[ $before != "$after" ]]; then
	scratch --no-pager diff --stat --patch "$before" "$after"
	cat >&2 <<-'TXT'
		verify: the files above were stale: generated code, go.mod or go.sum, or formatting.
		verify: the working tree now holds the right content (the diff); look at it and commit it.
	TXT
	exit 1
fi

if tag=$(git describe --tags --abbrev=0 2>/dev/null); then
	breaking "$tag" "the release $tag"
elif parent=$(git rev-parse --verify --quiet HEAD~1); then
	breaking "$parent" 'the previous commit'
else
	echo 'verify: no earlier commit to compare messages with'
fi
echo 'verify: clean'
