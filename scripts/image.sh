#!/usr/bin/env bash
# Makes the root of the container image in directory $1: the program, and the certificates of authorities that it trusts. Nothing else is in the image,
# and nothing is written by it. The Dockerfile runs this, and so does a test. VERSION, GOOS and GOARCH are read; CA_BUNDLE is where the certificates are.
set -euo pipefail

fail() {
	printf 'image: %s\n' "$@" >&2
	exit 1
}

[[ $# == 1 ]] || fail 'usage: scripts/image.sh DIRECTORY'
mkdir -p "$1"
root=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# Where Debian, Fedora, and Alpine and macOS have them.
for bundle in ${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem}; do
	[[ -s $bundle ]] && break
done
[[ -s $bundle ]] || fail 'certificates of authorities were not found: install ca-certificates, or set CA_BUNDLE to the file'

# The same sources and the same Go give the same bytes, wherever they are: no path of this machine (-trimpath), no state of a checkout (-buildvcs) and no C
# library is in the program, and its modules are those of its own go.mod, not of the workspace. What it lacks is for debuggers only (-s -w): traces of panics
# and profiles have their names. Time zones are in it already.
CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly go build -C services/beaconpost -trimpath -buildvcs=false \
	-ldflags "-s -w -X main.version=${VERSION:-dev}" -o "$root/beaconpost" ./cmd/beaconpost

# Modes do not depend on the umask of whoever builds. In the image all of it is root's, and the services are not root.
install -d -m 0755 "$root/etc" "$root/etc/ssl" "$root/etc/ssl/certs"
install -m 0444 "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
chmod 0555 "$root/beaconpost"
