#!/usr/bin/env bash
# One CI job of a tunekit project, on any CI: check the lock, say what is stale, build, sum up. See docs/ci.md.
#
#   pipeline.sh [LABEL…]                    default: what [project] default builds
#
# TUNEKIT   the command (default: tunekit)
# OUT       folder for status.json, build.jsonl, summary.md (default: .tunekit/ci)
# PUSH=1    at the end, push what was built to the project's remote
set -euo pipefail

tunekit=${TUNEKIT:-tunekit}
out=${OUT:-.tunekit/ci}
mkdir -p "$out"
rm -f "$out"/{status.json,build.jsonl,summary.md}

page() { # what is written there is shown on the page of the job, where the CI has one
  if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$out/summary.md" ]; then cat "$out/summary.md" >>"$GITHUB_STEP_SUMMARY"; fi
}
trap page EXIT

echo "+ the lock has every source, and nothing else (exit 3 if not; nothing is fetched)"
code=0
$tunekit lock --check 2>"$out/lock.txt" || code=$?
if [ $code -ne 0 ]; then
  cat "$out/lock.txt" >&2
  printf '## tunekit build\n\n**the lock was refused**\n\n```text\n%s\n```\n' "$(cat "$out/lock.txt")" >"$out/summary.md"
  exit $code
fi

echo "+ what is stale, and why"
$tunekit status --check --json "$@" >"$out/status.json" || code=$?
if [ $code -ne 0 ] && [ $code -ne 4 ]; then exit $code; fi # 4: something is stale, which is what the build is for

# What others built is taken from the remote by the build itself, where tunekit.toml has a [remote] (docs/ci.md).
echo "+ build"
$tunekit build --locked --json --summary "$out/summary.md" "$@" >"$out/build.jsonl"

if [ "${PUSH:-}" = 1 ]; then
  echo "+ push"
  $tunekit push "$@"
fi
