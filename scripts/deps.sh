#!/usr/bin/env bash
# Checks the Go toolchain, then sees to it that what the arguments name is on this machine: postgres, node, cc, ip, prometheus.
# What is there already costs nothing and needs no privileges; what is missing is installed with apt-get.
set -euo pipefail

fail() {
	printf 'deps: %s\n' "$@" >&2
	exit 1
}

# check_go wants the version that go.work names, to the minor.
check_go() {
	command -v go >/dev/null || fail 'Go is not installed. Beaconpost needs Go 1.26 or newer: https://go.dev/doc/install'
	local version major minor
	version=$(go env GOVERSION) # such as go1.26.8
	version=${version#go}
	major=${version%%.*}
	minor=${version#*.}
	minor=${minor%%[!0-9]*}
	if ! [[ $major =~ ^[0-9]+$ && $minor =~ ^[0-9]+$ ]]; then
		return # a development build of Go: its user knows
	fi
	((major > 1 || (major == 1 && minor >= 26))) ||
		fail "this is Go $version, Beaconpost needs Go 1.26 or newer: https://go.dev/doc/install"
}

# have_postgres looks where the program itself looks: for a directory with initdb and postgres.
have_postgres() {
	local dir
	if [[ -n ${BEACONPOST_POSTGRES_BIN:-} ]]; then
		[[ -x $BEACONPOST_POSTGRES_BIN/initdb && -x $BEACONPOST_POSTGRES_BIN/postgres ]] ||
			fail "BEACONPOST_POSTGRES_BIN is $BEACONPOST_POSTGRES_BIN, but there are no initdb and postgres in it"
		return 0
	fi
	for dir in /usr/lib/postgresql/*/bin; do
		[[ -x $dir/initdb && -x $dir/postgres ]] && return 0
	done
	command -v initdb >/dev/null && command -v postgres >/dev/null
}

have_node() { command -v node >/dev/null && command -v npm >/dev/null; }

have_ip() { command -v ip >/dev/null; }

# have_prometheus looks for the programs on PATH, and for those of a package that was unpacked only: installed, it would start a server that nobody asked for.
have_prometheus() {
	{ command -v prometheus && command -v promtool; } >/dev/null || [[ -x bin/tools/prometheus/usr/bin/promtool ]]
}

unpack_prometheus() {
	local dir
	dir=$(mktemp -d)
	chmod 755 "$dir"
	(cd "$dir" && apt download prometheus) && mkdir -p bin/tools/prometheus && dpkg -x "$dir"/prometheus_*.deb bin/tools/prometheus
	rm -rf "$dir"
}

have_cc() { command -v "$(go env CC)" >/dev/null; }

# describe NAME says for people what is meant and what to do without apt-get.
describe() {
	case $1 in
	postgres) echo 'Postgres is missing. Install version 15 or newer and put initdb and postgres on PATH, or set BEACONPOST_POSTGRES_BIN to their directory.' ;;
	node) echo 'Node.js with npm is missing. Install version 18 or newer and put both on PATH.' ;;
	prometheus) echo 'Prometheus is missing. Put prometheus and promtool on PATH.' ;;
	ip) echo 'The command ip is missing. Install iproute2: a test cuts a network with it.' ;;
	cc) echo 'A C compiler is missing. Install gcc or clang, or set CC to one.' ;;
	esac
}

# packages NAME prints the Debian packages that bring it.
packages() {
	case $1 in
	postgres) echo postgresql ;;
	node) echo nodejs npm ;;
	ip) echo iproute2 ;;
	prometheus) ;; # is unpacked
	cc) echo gcc libc6-dev ;;
	*) fail "unknown dependency $1" ;;
	esac
}

cannot() {
	for want in $missing; do
		printf 'deps: %s\n' "$(describe "$want")" >&2
	done
	fail "It could not be installed here: $1."
}

as_root() {
	if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"; }

# no_default_cluster keeps Debian from creating and starting a database server of its own: Beaconpost wants the programs only.
no_default_cluster() {
	local file=/etc/postgresql-common/createcluster.d/beaconpost.conf
	as_root mkdir -p "${file%/*}"
	printf '%s\n' '# Written by Beaconpost before it installed Postgres: no server that nobody asked for.' \
		'create_main_cluster = false' | as_root tee "$file" >/dev/null
}

check_go

missing='' install=''
for want in "$@"; do
	names=$(packages "$want")
	"have_$want" || missing+=" $want" install+=" $names"
done
[[ -n $missing ]] || exit 0

command -v apt-get >/dev/null || cannot 'only apt-get (Debian, Ubuntu) is known to this script'
if ((EUID != 0)); then
	command -v sudo >/dev/null || cannot 'installing needs root, and there is no sudo'
	sudo true || cannot 'installing needs root, and sudo was refused'
fi

echo "deps: installing$install"
[[ $missing != *postgres* ]] || no_default_cluster
apt update || echo 'deps: apt-get update had errors; trying with the lists as they are' >&2
# shellcheck disable=SC2086 # a list of packages
[[ -z ${install// /} ]] || apt install -y --no-install-recommends $install || cannot 'apt-get install did not succeed (see above)'
[[ $missing != *prometheus* ]] || unpack_prometheus || cannot 'apt-get download prometheus did not succeed (see above)'

for want in $missing; do
	"have_$want" || cannot "apt-get did not bring it"
done
