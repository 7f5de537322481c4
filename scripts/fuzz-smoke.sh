#!/bin/sh
# Ten seconds of each fuzzer (or SECONDS_EACH), from an empty corpus with a fixed seed: shows that they build and run, and
# finds what is easy to find. Needs neither cargo-fuzz nor a nightly compiler: coverage comes from a pass of LLVM that
# stable rustc has, and the address sanitizer, which it does not have, has little to find in code without `unsafe`.
set -eu
cd "$(dirname "$0")/../fuzz"

host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
    *-linux-gnu | *-apple-darwin) ;;
    *) echo "fuzz-smoke: NOT RUN: libFuzzer is not known to work on $host" >&2; exit 0 ;;
esac

# A folder of its own, beside the other builds: these flags build everything anew.
target=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/fuzz-smoke}
target=${target:-$PWD/target/smoke}
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 $(echo $coverage)" \
    cargo build --locked --release --target "$host" --target-dir "$target"

findings=$target/findings/
mkdir -p "$findings"
for file in fuzz_targets/*.rs; do
    name=$(basename "$file" .rs)
    log=$findings$name.log
    if ! "$target/$host/release/$name" -seed=1 -max_total_time="${SECONDS_EACH:-10}" -len_control=20 -print_final_stats=1 \
        -artifact_prefix="$findings$name-" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "fuzz-smoke: $name: the input is in $findings" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    covered=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    # Without coverage a fuzzer throws dice.
    [ -n "$covered" ] || { echo "fuzz-smoke: $name sees no coverage" >&2; exit 1; }
    echo "fuzz-smoke: $name: $runs inputs, $covered"
done
