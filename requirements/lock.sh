#!/usr/bin/env bash
# Write the locked requirements anew: with hashes, for every platform, without index URLs, nothing younger than seven days.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-uv}
age=$(date -u -d '7 days ago' +%Y-%m-%dT00:00:00Z)
lock() { "$uv" pip compile -q --universal --generate-hashes --no-strip-extras --no-annotate --no-header --exclude-newer "$age" --python-version 3.11 "$@"; }
lock pyproject.toml -o requirements/default.txt
lock pyproject.toml --extra alerts --extra dev --extra exchange --extra research -c requirements/default.txt -o requirements/dev.txt
lock pyproject.toml --extra exchange --extra alerts -c requirements/dev.txt -o requirements/serve.txt
echo hatchling | lock - -o requirements/build.txt
printf 'alpaca-py==0.44.0\nbinance-sdk-spot\npython-kraken-sdk\npybit\nccxt\nv20\noandapyV20\nlumiwealth-tradier\nuvatradier\nibind\nib_async\nnautilus-ibapi\nschemathesis\nprotobuf\nsix\npyyaml\n' | lock - -o requirements/judges.txt
printf 'ccxt\ncryptofeed\n' | lock - -o requirements/peers.txt
printf 'backtesting\nbacktrader\nbasana\nnautilus_trader\nquantstats\n' | lock - -o requirements/backtesters.txt
