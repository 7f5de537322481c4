#!/bin/sh
# Checks that every set of features asks cargo for the same build of RocksDB. Nothing is compiled.
#
# A feature of some crate in the host graph below librocksdb-sys (bindgen, syn, quote ...) that is on in one set and
# off in another would cost a second build of RocksDB. It can happen with any new dependency.
set -eu
cd "$(dirname "$0")/.."

# What RocksDB is built from: every crate below it, with its features.
below_rocksdb() {
    cargo tree --quiet --locked --prefix depth --no-dedupe --format ' {p} {f}' "$@" | awk '
        { match($0, /^[0-9]+/); depth = substr($0, 1, RLENGTH) + 0; line = substr($0, RLENGTH + 1) }
        inside && depth <= top { exit }
        inside { print line }
        !inside && $2 == "librocksdb-sys" { inside = 1; top = depth; print line }' | sort -u
}

first=$(below_rocksdb --edges normal,build --features cli)
[ -n "$first" ] || { echo "one-rocksdb: librocksdb-sys is not in the tree" >&2; exit 1; }
status=0
for edges in normal,build normal,build,dev; do
    for features in '--no-default-features --features rocksdb' '' '--features laws' '--features cli' '--features server' '--features arrow' '--all-features'; do
        # shellcheck disable=SC2086  # the flags are words
        seen=$(below_rocksdb --edges $edges $features)
        if [ "$seen" != "$first" ]; then
            echo "one-rocksdb: '$features' with $edges would build RocksDB once more; only here or only with '--features cli':" >&2
            printf '%s\n%s\n' "$first" "$seen" | sort | uniq -u >&2
            status=1
        fi
    done
done
[ $status -eq 0 ] || echo "one-rocksdb: make the features agree under [build-dependencies] in Cargo.toml" >&2
exit $status
