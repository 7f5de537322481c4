#!/bin/sh
# Installs what building RocksDB needs and is not there yet: a C++ compiler, make and libclang. With libclang comes
# clang++, which compiles RocksDB in about two thirds of the time that g++ takes, so it is put into .cargo/config.toml:
# make, plain cargo and rust-analyzer then agree on the compiler, and RocksDB is built once for all of them.
# Says what it does, asks no questions, and does nothing when everything is present.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
have() { command -v "$1" >/dev/null 2>&1; }

have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    # bindgen loads the library at build time: the linker's cache, then the usual LLVM folders.
    { /sbin/ldconfig -p 2>/dev/null || ldconfig -p 2>/dev/null || true; } | grep -q 'libclang\(-[0-9.]*\)\?\.so' && return 0
    ls /usr/lib/llvm-*/lib/libclang*.so* /usr/local/lib/libclang*.so* /Library/Developer/CommandLineTools/usr/lib/libclang.dylib \
        2>/dev/null | grep -v 'libclang-cpp' | grep -q . && return 0
    return 1
}

# A clang++ without the headers of a C++ library is of no use.
clang_works() {
    have clang++ && echo '#include <string>' | clang++ -std=c++20 -x c++ -fsyntax-only - 2>/dev/null
}

install() {
    # Root needs no sudo; anyone else needs it only now that something is missing.
    as_root=""
    if [ "$(id -u)" -ne 0 ] && ! have brew; then
        have sudo || { say "not root and no sudo here; install clang, g++, make and libclang, then run this again"; exit 1; }
        as_root="sudo"
    fi
    if have apt-get; then
        say "installing with apt-get: g++ make clang libclang-dev"
        $as_root apt-get update -qq
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ make clang libclang-dev >&2
    elif have dnf; then
        say "installing with dnf: gcc-c++ make clang clang-devel"
        $as_root dnf install -y -q gcc-c++ make clang clang-devel
    elif have pacman; then
        say "installing with pacman: gcc make clang"
        $as_root pacman -S --needed --noconfirm gcc make clang
    elif have apk; then
        say "installing with apk: g++ make clang clang-dev linux-headers"
        $as_root apk add --quiet g++ make clang clang-dev linux-headers
    elif have brew; then
        say "installing with brew: llvm"
        brew install --quiet llvm
    else
        say "no package manager that I know; install clang, g++, make and libclang, then run this again"
        exit 1
    fi
}

# The choice of the compiler. Yours is left alone: CXX in the environment, or any .cargo/config.toml that is there.
choose_clang() {
    config=.cargo/config.toml
    if [ -n "${CXX:-}" ] || [ -e "$config" ] || ! clang_works; then return 0; fi
    if grep -qs CXX "${CARGO_HOME:-$HOME/.cargo}/config.toml"; then return 0; fi
    # On macOS c++ is clang already.
    if c++ --version 2>/dev/null | grep -qi clang; then return 0; fi
    # Another compiler means another build of RocksDB. One that is there is worth more than a faster one.
    for output in "${CARGO_TARGET_DIR:-target}"/release/build/librocksdb-sys-*/output; do
        if [ -e "$(dirname "$output")/out/librocksdb.a" ] && ! grep -qF 'CXX = Some(clang++)' "$output"; then return 0; fi
    done
    mkdir -p .cargo
    printf '%s\n' '# Written by scripts/setup.sh. CXX in the environment wins over it.' '[env]' 'CXX = "clang++"' >"$config"
    say "RocksDB will be built with clang++: wrote $config (not under version control)"
}

if ! have cargo && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
    say "cargo is missing: install Rust from https://rustup.rs and run this again"
    exit 1
fi

missing=""
for tool in c++ cc make; do have $tool || missing="$missing $tool"; done
have_libclang || missing="$missing libclang"
# A build machine with the rights to install does not wait for the slower compiler.
if [ -n "${CI:-}" ] && [ -z "${CXX:-}" ] && [ "$(id -u)" -eq 0 ]; then have clang++ || missing="$missing clang++"; fi
if [ -n "$missing" ]; then
    say "missing:$missing"
    install
    have_libclang || { say "libclang is still missing; set LIBCLANG_PATH to the folder that holds it"; exit 1; }
    say "done"
fi
choose_clang
