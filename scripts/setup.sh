#!/bin/sh
# Installs what building RocksDB needs and is not there yet: a C++ compiler, make and libclang.
# Says what it does, asks for nothing, and does nothing at all when everything is present.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }

have_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    # bindgen loads the library at build time: the linker's cache, then the usual LLVM folders.
    { /sbin/ldconfig -p 2>/dev/null || ldconfig -p 2>/dev/null || true; } | grep -q 'libclang\(-[0-9.]*\)\?\.so' && return 0
    ls /usr/lib/llvm-*/lib/libclang*.so* /usr/local/lib/libclang*.so* /Library/Developer/CommandLineTools/usr/lib/libclang.dylib \
        2>/dev/null | grep -v 'libclang-cpp' | grep -q . && return 0
    return 1
}

missing=""
command -v c++ >/dev/null 2>&1 || missing="$missing c++"
command -v cc >/dev/null 2>&1 || missing="$missing cc"
command -v make >/dev/null 2>&1 || missing="$missing make"
have_libclang || missing="$missing libclang"

if ! command -v cargo >/dev/null 2>&1 && [ ! -x "$HOME/.cargo/bin/cargo" ]; then
    say "cargo is missing: install Rust from https://rustup.rs and run this again"
    exit 1
fi

if [ -z "$missing" ]; then
    exit 0
fi
say "missing:$missing"

# Root needs no sudo; anyone else needs it only now that something is missing.
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1; then
        as_root="sudo"
    else
        say "not root and no sudo here; install a C++ compiler, make and libclang, then run this again"
        exit 1
    fi
fi

if command -v apt-get >/dev/null 2>&1; then
    say "installing with apt-get: g++ make libclang-dev"
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ make libclang-dev >&2
elif command -v dnf >/dev/null 2>&1; then
    say "installing with dnf: gcc-c++ make clang-devel"
    $as_root dnf install -y -q gcc-c++ make clang-devel
elif command -v pacman >/dev/null 2>&1; then
    say "installing with pacman: gcc make clang"
    $as_root pacman -S --needed --noconfirm gcc make clang
elif command -v apk >/dev/null 2>&1; then
    say "installing with apk: g++ make clang-dev linux-headers"
    $as_root apk add --quiet g++ make clang-dev linux-headers
elif command -v brew >/dev/null 2>&1; then
    say "installing with brew: llvm"
    brew install --quiet llvm
else
    say "no package manager that I know; install a C++ compiler, make and libclang, then run this again"
    exit 1
fi

have_libclang || { say "libclang is still missing; set LIBCLANG_PATH to the folder that holds it"; exit 1; }
say "done"
