#!/usr/bin/env bash
# The load that a server takes: batches of 200 updates on 8 connections, alone, and with 10,000 connections that send a
# byte each second. Needs wrk and python3.
#
#     scripts/load.sh target/release/profiledb [SECONDS]
set -euo pipefail
binary=$(realpath "$1") seconds=${2:-30}
ulimit -n "$(ulimit -Hn)"
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$dir"' EXIT

cat >"$dir/batches.lua" <<'LUA'
-- Each of 500 bodies has 200 updates of users among 100,000.
local bodies, next_body = {}, 0
for body = 1, 500 do
    local updates = {}
    for update = 1, 200 do
        local user = (body * 7919 + update * 104729) % 100000
        updates[update] = string.format(
            '{"$token":"token","$distinct_id":"user-%06d","$set":{"plan":"pro","seats":%d,"city":"Berlin"}}', user, update)
    end
    bodies[body] = "[" .. table.concat(updates, ",") .. "]"
end
wrk.headers["content-type"] = "application/json"
function request()
    next_body = next_body % #bodies + 1
    return wrk.format("POST", nil, nil, bodies[next_body])
end
local wrong = 0
function response(status, _, body)
    if status ~= 200 or (body ~= "1" and body ~= "{}") then wrong = wrong + 1 end
    if wrong == 1 then print("wrong answer:", status, body) wrong = 2 end
end
LUA

cat >"$dir/slow.py" <<'PYTHON'
import socket, sys, time
host, port = sys.argv[1].split(":")
head = b"POST /engage HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
held = []
for _ in range(10_000):
    held.append(socket.create_connection((host, int(port))))
    held[-1].sendall(head)
print("held", flush=True)
while True:
    started = time.monotonic()
    for connection in held:
        connection.sendall(b" ")
    time.sleep(max(0, 1 - (time.monotonic() - started)))
PYTHON

"$binary" serve --listen 127.0.0.1:0 --log error --db "$dir/store" --durability buffered --body-deadline 900 >"$dir/out" &
server=$!
until grep -qs listening "$dir/out"; do sleep 0.1; done
address=$(sed 's|.*//||' "$dir/out")
memory() { sed -n 's/^VmHWM:[[:space:]]*/highest resident memory: /p;s/^VmRSS:[[:space:]]*/resident memory now: /p' "/proc/$server/status"; }
load() {
    echo "== $1"
    wrk --threads 1 --connections 8 --duration "${seconds}s" --latency --script "$dir/batches.lua" "http://$address/$2" |
        grep -E 'wrong|50%|75%|90%|99%|Requests/sec|errors|Non-2xx'
    memory
}

load "read and dropped, without a store: the limit" record
load "stored" engage
python3 "$dir/slow.py" "$address" >"$dir/slow" &
until grep -qs held "$dir/slow"; do sleep 0.1; done
load "stored, with 10,000 connections that send a byte each second" engage
curl -s "http://$address/metrics" | grep -E '^profiledb_(connections_open|updates_total|buffered_bytes|connections_cut)' || true
