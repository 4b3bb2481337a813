# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# What the scripts share. Sourced by them, never run. It leaves the shell in the root of the project; what a person
# typed a relative path against is in $caller_directory.
set -euo pipefail
# shellcheck disable=SC2034  # scripts/run uses it
caller_directory=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONDONTWRITEBYTECODE=1

fail() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 1
}

usage() {  # prints the comment that opens the script, the only copy of its manual
  sed -n '3,/^[^#]/s/^# \{0,1\}//p' "${BASH_SOURCE[1]}"
}

# ---- Debian packages, in groups, so that nobody installs a compiler they do not use ----
packages_of() {
  case $1 in
    build) echo g++ cmake ninja-build pkg-config git python3 liburing-dev libboost-dev libboost-context-dev libhwloc-dev libcli11-dev \
      libfmt-dev nlohmann-json3-dev zlib1g-dev libbrotli-dev libzstd-dev libgtest-dev libgmock-dev libbenchmark-dev \
      libhttp-parser-dev libssl-dev libc-ares-dev ;;
    clang) echo clang-19 libclang-rt-19-dev ;;
    check) echo clang-format-19 ;;
    tidy) echo clang-tidy-19 ;;
    redis) echo redis-tools python3-redis ;;
    bench) echo fio redis-server "$(packages_of redis)" nginx-light wrk ;;
    peers) echo libboost-fiber-dev libuv1-dev libevent-dev libtbb-dev librust-tokio-dev cargo golang-go nodejs memcached ;;
    instructions) echo valgrind ;;
    profile) echo linux-perf valgrind ;;
    models) echo spin ;;
    clients) echo curl wrk strace nghttp2-client apache2-utils nodejs prometheus python3-prometheus-client unbound \
      iproute2 iptables ;;
    browser) echo chromium ;;
    *) fail "no package group '$1'; there are: build clang check tidy redis bench peers instructions profile models clients browser" ;;
  esac
}

# setup group...: installs what is missing and says nothing when nothing is.
setup() {
  local group wanted="" installed missing=() package
  for group in "$@"; do wanted+=" $(packages_of "$group")"; done
  # shellcheck disable=SC2086  # a list of words
  installed=" $(dpkg-query -W -f='${db:Status-Status}:${Package} ' $wanted 2>/dev/null || true) "
  for package in $wanted; do
    [[ $installed == *" installed:$package "* ]] || missing+=("$package")
  done
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

install_packages() {
  local run=(env DEBIAN_FRONTEND=noninteractive) services=() package
  for package in "$@"; do
    case $package in
      redis-server | memcached) services+=("$package") ;;
      nginx*) services+=(nginx) ;;
      prometheus | unbound) services+=("$package") ;;
    esac
  done
  command -v apt-get >/dev/null || fail "this installs Debian 12 packages; without apt-get, install by hand: $*"
  if ((EUID != 0)); then
    command -v sudo >/dev/null || fail "no sudo here; as root run: apt-get install $*"
    run=(sudo "${run[@]}")
  fi
  local apt=("${run[@]}" apt-get -qq -o DPkg::Lock::Timeout=300) policy=/usr/sbin/policy-rc.d
  printf 'installing %s\n' "$*" >&2
  "${apt[@]}" update || fail "this needs root; as root run: apt-get install $*"
  if ((${#services[@]} == 0)); then
    "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null </dev/null
  else (  # must not start a server: a policy that answers 101 forbids it, for as long as this subshell takes
    if [[ ! -e $policy ]]; then
      trap '"${run[@]}" rm -f $policy' EXIT
      printf '#!/bin/sh\nexit 101\n' | "${run[@]}" tee $policy >/dev/null
      "${run[@]}" chmod 755 $policy
    fi
    "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null </dev/null
    if command -v systemctl >/dev/null; then  # nor at the next boot
      "${run[@]}" systemctl --quiet disable "${services[@]}"
    fi
  ) fi
}

# ---- presets ----
presets() { sed -n 's/.*"name": "\([a-z]*\)", "configurePreset".*/\1/p' CMakePresets.json; }
has_line() { grep -x -- "$2" >/dev/null <<<"$1"; }  # not `command | grep -q`: it ends early and the command fails by SIGPIPE
is_preset() { has_line "$(presets)" "$1"; }

# configure preset: writes or brings up to date what ninja reads, so that targets and tests are known. In CI warnings are
# errors.
configure() {
  local preset=$1 wanted=() options=() option configured=yes
  if [[ $preset == clang ]]; then setup build clang; else setup build; fi
  if [[ -n ${CI:-} ]]; then wanted=(SKERRY_WERROR); fi
  # The hunt for planted bugs costs a minute, and finds the same in each preset.
  if [[ $preset == release && -n ${CI:-}${SKERRY_LONG_TESTS:-} ]]; then wanted+=(SKERRY_PLANTS); fi
  [[ build/$preset/CMakeFiles/cmake.check_cache -nt CMakePresets.json && -f build/$preset/build.ninja ]] || configured=
  for option in "${wanted[@]}"; do
    options+=("-D$option=ON")
    [[ -n $configured ]] && grep -q "^$option:BOOL=ON" "build/$preset/CMakeCache.txt" || configured=
  done
  if [[ -n $configured ]]; then
    run_ninja "$preset" build.ninja
  else
    cmake --log-level=NOTICE --preset "$preset" "${options[@]}"
  fi
}

# build preset target...: into a pipe or a file it does not mention that there was nothing to do.
build() {
  configure "$1"
  run_ninja "$@"
}

run_ninja() {
  local run=(cmake --build "build/$1" --parallel "${SKERRY_JOBS:-$(nproc)}" --target "${@:2}")
  if [[ -t 1 && $2 != build.ninja ]]; then
    "${run[@]}"
  else
    "${run[@]}" | sed '/Re-checking globbed directories/d; /^ninja: no work to do/d'
  fi
}
