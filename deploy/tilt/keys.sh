#!/usr/bin/env bash
# Makes in data/cluster what `tilt up` needs and git must not have, unless it is there: the key that seals signing secrets, the key of the operator's tokens, and
# values.yaml, with which the chart lets its tokens in. Two of these files are as secret as what is in the cluster, which is not at all.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 077
dir=data/cluster
mkdir -p "$dir" bin/tilt/services bin/tilt/migrate # Tilt looks for what it builds images of before they were compiled

beaconpost() { go run ./services/beaconpost/cmd/beaconpost "$@"; }

[[ -s $dir/secrets.keys ]] || beaconpost keygen --id tilt >"$dir/secrets.keys"
[[ -s $dir/local.jwks.json ]] || beaconpost token --data-dir "$dir" --operator >/dev/null
[[ -s $dir/values.yaml ]] || {
	printf '# Written by deploy/tilt/keys.sh.\nauth:\n  issuer: beaconpost-local\n  audience: beaconpost\n  jwks: |\n'
	sed 's/^/    /' "$dir/local.jwks.json"
} >"$dir/values.yaml"
