#!/usr/bin/env bash
# Demo traffic: makes a tenant with an endpoint at each receiver and a monitor of both, then sends events until it is stopped.
#
#   deploy/tilt/traffic.sh DIRECTORY [ROUNDS]
#
# DIRECTORY has the operator's key (keys.sh) and keeps the tenant's API key for the next time. Read are BEACONPOST_URL and MONITOR_URL, where the APIs are for
# this script; RECEIVER and RECEIVER_BROKEN, where the receivers are for Beaconpost; PAUSE between rounds, in seconds; and PROGRAM, which is bin/beaconpost.
set -euo pipefail
cd "$(dirname "$0")/../.."

(($# >= 1)) || {
	echo 'usage: deploy/tilt/traffic.sh DIRECTORY [ROUNDS]' >&2
	exit 2
}
dir=$1
rounds=${2:-0} # 0: no end
receiver=${RECEIVER:-http://receiver:9999}
broken=${RECEIVER_BROKEN:-http://receiver-broken:9999}
program=${PROGRAM:-bin/beaconpost}
monitor_url=${MONITOR_URL:-http://127.0.0.1:8082}
export BEACONPOST_URL=${BEACONPOST_URL:-http://127.0.0.1:8080}

# call CREDENTIAL URL [BODY] prints the answer. One that is not 2xx is an error.
call() {
	local body=()
	(($# < 3)) || body=(--data "$3")
	curl -sS --fail-with-body --max-time 10 -H "Authorization: Bearer $1" -H 'Content-Type: application/json' ${body[@]+"${body[@]}"} "$2"
}

# new_tenant makes one, and all that it has. Its key is kept last: what was cut off is begun again.
new_tenant() {
	local operator key
	operator=$("$program" token --data-dir "$dir" --operator)
	key=$(call "$operator" "$BEACONPOST_URL/v1/tenants" '{"name":"demo"}' | sed -n 's/.*"api_key":"\([^"]*\)".*/\1/p')
	make() { call "$key" "$1" "$2" >/dev/null; } # answers have signing secrets
	make "$BEACONPOST_URL/v1/endpoints" '{"url":"'"$receiver"'/webhooks","description":"takes everything"}'
	make "$BEACONPOST_URL/v1/endpoints" '{"url":"'"$broken"'/webhooks","description":"always fails","event_types":["invoice.*"]}'
	# Receivers answer 405 to a GET, which is well for one of the monitors, and makes an incident of the other.
	make "$monitor_url/v1/monitors" '{"name":"receiver","kind":"http","url":"'"$receiver"'","interval":"10s","status_codes":["200-499"]}'
	make "$monitor_url/v1/monitors" '{"name":"broken receiver","kind":"http","url":"'"$broken"'","interval":"10s"}'
	(umask 077 && printf '%s\n' "$key" >"$dir/api_key")
}

# The key of a cluster that is gone is refused by the next one.
if ! { [[ -s $dir/api_key ]] && call "$(<"$dir/api_key")" "$BEACONPOST_URL/v1/endpoints" >/dev/null 2>&1; }; then
	new_tenant
fi
BEACONPOST_API_KEY=$(<"$dir/api_key")
export BEACONPOST_API_KEY
echo "Tenant demo; its API key is in $dir/api_key"

for ((round = 1; rounds == 0 || round <= rounds; round++)); do
	# A service that has just been changed is away for a moment.
	"$program" send order.paid '{"order":'"$round"',"total":"19.90"}' --count 20 --concurrency 4 >/dev/null || echo 'order.paid was not accepted'
	"$program" send invoice.created '{"invoice":'"$round"'}' --count 2 >/dev/null || echo 'invoice.created was not accepted'
	((round % 10 != 1)) || echo "Round $round: 20 order.paid, 2 invoice.created"
	sleep "${PAUSE:-1}"
done
