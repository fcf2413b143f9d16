#!/usr/bin/env bash
# The old entry point, for people who used it before: a thin wrapper around `my3dis run`.
# Nothing in here has to be edited: settings come from the options below, else from MY3DIS_* variables,
# else from a .env file in the working directory (see .env.example), else from CONFIG.yaml.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: ./run_experiment.sh [CONFIG.yaml] [options]

  --scan PATH                  one scan: a folder or a video (else the scenes of MY3DIS_EXPERIMENT__DATASET_ROOT)
  --output DIR                 folder for all runs
  --levels 2,4,6               granularities, coarse to fine
  --frames 1200:1600:20        start:end:step, positions in the sorted frames
  --ssam-freq N                propose masks on every N-th selected frame
  --sam2-max-propagate N       carry a track on for at most N frames without a candidate
  --min-area PX                drop smaller masks
  --stability X                drop less stable masks, 0 to 1
  --name NAME                  name of the run's folder
  --dry-run                    say what would be done and do nothing
  -h, --help                   this text

Every other option is handed to `my3dis run` as it is; see `my3dis run --help`.

example:
  ./run_experiment.sh --scan scans/scene0000_00 --levels 2,4,6 --frames 1200:1600:20 --ssam-freq 2
TEXT
}

# value OPTION COUNT: an option that needs a value must have one.
value() {
  if (($2 < 2)); then
    printf 'run_experiment.sh: error: %s needs a value; see --help\n' "$1" >&2
    exit 2
  fi
}

arguments=()
while (($#)); do
  case "$1" in
    -h | --help)
      usage
      exit 0
      ;;
    --ssam-freq=* | --sam2-max-propagate=* | --min-area=* | --stability=*)
      option="${1%%=*}"
      set -- "$option" "${1#*=}" "${@:2}"
      continue
      ;;
    --ssam-freq) key=stages.ssam.ssam_freq ;;
    --sam2-max-propagate) key=stages.tracker.max_propagate ;;
    --min-area) key=stages.ssam.min_area ;;
    --stability) key=stages.ssam.stability_threshold ;;
    *)
      arguments+=("$1")
      shift
      continue
      ;;
  esac
  value "$1" "$#"
  arguments+=(--set "$key=$2")
  shift 2
done

# The checkout's own environment if there is one, so that nothing has to be activated first.
here="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
if command -v my3dis >/dev/null; then
  exec my3dis run "${arguments[@]+"${arguments[@]}"}"
elif [[ -x "$here/.venv/bin/my3dis" ]]; then
  exec "$here/.venv/bin/my3dis" run "${arguments[@]+"${arguments[@]}"}"
fi
echo "run_experiment.sh: error: my3dis is not installed; run 'make demo' once, or pip install ." >&2
exit 4
