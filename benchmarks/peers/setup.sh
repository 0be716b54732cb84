#!/bin/sh
# Make the peers' environments, one each, in .venv-peers/ at the root of the project. Needs a package index.
#   benchmarks/peers/setup.sh            both
#   benchmarks/peers/setup.sh pfl        one of: pfl flower
set -eu
cd "$(dirname "$0")/../.."

for peer in "${@:-pfl flower}"; do
    for name in $peer; do
        case "$name" in
            pfl) package='pfl[pytorch]==0.6.0' ;;
            flower) package='flwr[simulation]==1.41.0' ;;
            *) echo "no peer $name; there are pfl and flower" >&2; exit 2 ;;
        esac
        echo "installing $package into .venv-peers/$name"
        test -x ".venv-peers/$name/bin/python" || "${PYTHON:-python3}" -m venv ".venv-peers/$name"
        ".venv-peers/$name/bin/python" -m pip install --quiet --disable-pip-version-check \
            "$package" torch==2.13.0 scikit-learn psutil
    done
done
