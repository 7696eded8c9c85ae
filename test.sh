#!/usr/bin/env bash
# All tests. Needs a Rust toolchain and a C compiler; names what it skips and why. See CONTRIBUTING.md for the longer runs.
#
# A step that fails does not keep the others from running; the script fails when one did.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec </dev/null
export CARGO_TERM_PROGRESS_WHEN=never

target=$(cargo metadata --locked --no-deps --format-version 1 |
  sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
summary=()
failed=0

# step NAME COMMAND...: runs a command or a function of this script.
step() {
  local name=$1 status began=$SECONDS
  shift
  printf '\n== %s\n' "$name"
  set +e
  (set -euo pipefail && "$@")
  status=$?
  set -e
  local took=$((SECONDS - began))
  if ((status == 0)); then
    summary+=("ok       ${name} (${took} s)")
    printf '== %s: ok, %s s\n' "$name" "$took"
  else
    failed=1
    summary+=("FAILED   ${name} (${took} s), exit code ${status}")
    printf '== %s: FAILED, %s s, exit code %s\n' "$name" "$took" "$status"
  fi
}

skip() {
  summary+=("skipped  $1: $2")
  printf '\n== %s: skipped, %s\n' "$1" "$2"
}

has() { command -v "$1" >/dev/null 2>&1; }

# Lints change with every compiler; they must be clean with the one that the crate names.
msrv=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
compiler=$(rustc --version | cut -d' ' -f2)
case $compiler in
  "$msrv".*) deny=(-D warnings) ;;
  *) deny=() ;;
esac

format() { cargo fmt --all --check; }

lints() { cargo clippy --locked --workspace --all-targets --all-features -- ${deny[@]+"${deny[@]}"}; }

documentation() {
  export RUSTDOCFLAGS="${deny[*]-}"
  cargo doc --locked --workspace --no-deps --all-features
  cargo doc --locked --no-deps --all-features --lib --document-private-items
}

# A plugin host trusts no file that lies below a folder which everybody may write to, and the tests of plugins build theirs here.
trusted_folders() {
  local folder=$PWD mode
  while [[ $folder != / ]]; do
    mode=$(stat -c %a "$folder" 2>/dev/null) || break
    if ((8#$mode & 2)); then
      echo "everybody may write to $folder (mode $mode): move this checkout elsewhere, or the tests of plugins fail"
      return 1
    fi
    folder=$(dirname "$folder")
  done
}

# The map and the README name files; a file that has moved must move there too.
named_files() {
  local missing=0 name
  for page in README.md ARCHITECTURE.md CONTRIBUTING.md; do
    while read -r name; do
      [[ -e $name ]] || { echo "$page names $name, which does not exist"; missing=1; }
    done < <(grep -oE '(`|\()((src|tests|benches|examples|loom-tests|plugins|\.ci)/[A-Za-z0-9_./-]*|[A-Za-z0-9_-]+\.(md|sh|toml))(`|\))' "$page" |
      tr -d '`()' | sort -u)
  done
  # The README's example and the one to run are the same program.
  diff <(awk '/^```rust/ {n++; on = n == 1; next} /^```/ {on = 0} on' README.md) \
    <(grep -v '^//!' examples/quick_start.rs | sed '1{/^$/d}') || missing=1
  return "$missing"
}

library_alone() {
  cargo check --locked -p keylane --no-default-features
  cargo check --locked -p keylane --no-default-features --all-targets
}

# What somebody compiles who embeds the bus.
dependencies() {
  local crates count
  crates=$(cargo tree --locked -p keylane -e normal --prefix none | sed 's/ (.*//' | sort -u | grep -v '^keylane ')
  count=$(wc -l <<<"$crates")
  echo "$count crates without features:" $crates
  ((count < 20))
}

minimum_version() { cargo "+$1" check --locked --workspace --all-features --target-dir "$target/msrv"; }

# What the README's first command does not build: the benchmarks.
build() { cargo build --locked --release -p keylane-benches; }

# The first command of the README: its service is started, asked what the README asks it, and ended as the README ends it.
readme_command() {
  local command folder=$target/readme said address code=0
  command=$(grep -m1 '^cargo build --release' README.md)
  mkdir -p "$folder"
  bash -euo pipefail -c "${command% && *}"
  command=${command##* && }
  echo "\$ $command"
  start_service "${command//target\/release/$target/release}" "$folder"
  if grep -q 'Address already in use' "$folder/stderr"; then
    echo "port 8080 is taken on this machine; once more with a free one"
    start_service "${command//target\/release/$target/release} --listen 127.0.0.1:0" "$folder"
  fi
  address=$(sed -n 's|^keylane: listening on http://||p' "$folder/stderr")
  [[ -n $address ]] || { cat "$folder/stderr"; return 1; }
  if has curl; then ask_service "$address" || code=1; else echo "curl is not installed: nothing was asked"; fi
  kill -INT "$service"
  wait "$service" || { code=$?; echo "exit code $code"; }
  cat "$folder/stdout" "$folder/stderr"
  grep -q '^lost  *nothing$' "$folder/stderr"
  if has curl; then grep -q '^events    849 accepted, 0 refused because the bus was full, 1 invalid$' "$folder/stderr"; fi
  return "$code"
}

# start_service COMMAND FOLDER: starts it as $service, and waits until it listens or has ended.
start_service() {
  # A process that is started in the background by a script does not hear Ctrl-C unless it is told to.
  bash -c "trap - INT; exec $1" >"$2/stdout" 2>"$2/stderr" &
  service=$!
  until grep -q 'listening on' "$2/stderr" || ! kill -0 "$service" 2>/dev/null; do sleep 0.1; done
}

# ask_service ADDRESS: runs the curl lines of the README and compares what comes with what the README shows.
ask_service() {
  local line wanted found wrong=0 try
  local -a lines
  mapfile -t lines < <(awk '/^```console/ {on = 1; next} /^```/ {on = 0} on' README.md)
  local at=0
  while ((at < ${#lines[@]})); do
    line=${lines[at]#\$ }
    wanted=
    at=$((at + 1))
    while ((at < ${#lines[@]})) && [[ ${lines[at]} != '$ '* ]]; do
      wanted+=${lines[at]}$'\n'
      at=$((at + 1))
    done
    echo "\$ $line"
    # What is counted is counted a moment later; what is sent is sent once.
    for ((try = 0; try < 50; try++)); do
      found=$(bash -o pipefail -c "${line//localhost:8080/$1}")$'\n'
      [[ $found != "$wanted" && $line == *metrics* ]] || break
      sleep 0.1
    done
    diff <(printf %s "$wanted") <(printf %s "$found") || wrong=1
  done
  return "$wrong"
}

readme_run() {
  local command
  command=$(grep -m1 '^target/release/keylane run' README.md)
  echo "\$ $command"
  bash -euo pipefail -c "${command//target\/release/$target/release}" | tee "$target/run.txt"
  grep -q '^lost  *nothing$' "$target/run.txt"
  # What the README shows is what comes, but for times and for the number of shards, which is that of the cores.
  diff <(sed -n '/^types /,/distinct keys/p' README.md) <(sed -n '/^types /,/distinct keys/p' "$target/run.txt")
}

tests() {
  local without=()
  has "${CXX:-c++}" || without=(-- --skip cplusplus)
  cargo test --locked --workspace --all-features --no-fail-fast ${without[@]+"${without[@]}"}
}

models() {
  # A folder of its own: `--cfg loom` would build everything else anew, too.
  RUSTFLAGS="--cfg loom" cargo test --locked --release --no-fail-fast -p keylane-loom-tests --target-dir "$target/loom"
}

benchmarks() { cargo run --locked --release -p keylane-benches -- --quick --out "$target/bench/quick.json"; }

# Runs a service until it listens, and interrupts it until it ends. It is in the background, where interrupts that come too early
# are ignored.
interrupted() {
  local log=$target/example.log pid
  "$@" 2>"$log" &
  pid=$!
  for _ in {1..600}; do
    if grep -q listening "$log"; then kill -INT "$pid" 2>/dev/null || break; fi
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  cat "$log"
  wait "$pid"
}

examples() {
  local source name arguments bound=()
  has timeout && bound=(timeout 60)
  cargo build --locked --examples --all-features
  for source in examples/*.rs; do
    name=$(basename "$source" .rs)
    arguments=() run=(${bound[@]+"${bound[@]}"})
    case $name in
      graceful_shutdown) arguments=(--for 1) ;;
      axum_service | plain_hyper) run=(interrupted) ;;
    esac
    printf -- '-- %s\n' "$name"
    ${run[@]+"${run[@]}"} "$target/debug/examples/$name" ${arguments[@]+"${arguments[@]}"} | tee "$target/example.txt"
    # Each ends with the report of its shutdown.
    grep -q 'faulted 0, abandoned 0 in ' "$target/example.txt"
  done
}

if cargo fmt --version >/dev/null 2>&1; then step "format" format; else skip "format" "cargo fmt is not installed"; fi
step "folders that plugins are trusted in" trusted_folders
step "names in the documents" named_files
step "the README's first command" readme_command
step "the README's keylane run" readme_run
if cargo clippy --version >/dev/null 2>&1; then
  step "lints" lints
  ((${#deny[@]})) || skip "lints as errors" "this is Rust $compiler; warnings count with $msrv only"
else
  skip "lints" "cargo clippy is not installed"
fi
step "documentation" documentation
step "library alone" library_alone
step "dependencies" dependencies
step "tests" tests
has "${CXX:-c++}" || skip "plugins in C++" "there is no compiler ${CXX:-c++}"
strace -f -e trace=getppid true >/dev/null 2>&1 ||
  skip "the system calls of an emit, in tests/bounds.rs" "there is no strace, or it may not trace"
step "examples" examples
step "models" models
step "benchmarks, build" build
step "benchmarks, quick" benchmarks

if [[ $compiler == "$msrv".* ]]; then
  echo; echo "== minimum Rust version: this run's, $compiler"
elif has rustup && rustup toolchain list | grep -q "^$msrv"; then
  step "minimum Rust version" minimum_version "$(rustup toolchain list | grep -m1 -o "^$msrv[^ ]*")"
else
  skip "minimum Rust version" "this is Rust $compiler, and no toolchain $msrv is installed"
fi
if cargo deny --version >/dev/null 2>&1; then
  step "licences and sources" cargo deny --offline check licenses bans sources
else
  skip "licences and sources" "cargo-deny is not installed"
fi

printf '\n== summary, %s s\n' "$SECONDS"
printf '%s\n' "${summary[@]}"
exit "$failed"
