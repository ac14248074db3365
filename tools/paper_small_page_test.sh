#!/bin/bash
# The page and the pictures of results/paper_small are those that its records give.
set -eu
results=results
python3 "$1" "$2" $results/paper_small $results/paper_small_tuning "$TEST_TMPDIR/page"
# The page's own interval is the report's, where the report has one.
python3 - "$1" $results/paper_small <<'END'
import json, pathlib, sys
sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent))
from paper_small_page import Records, sign_flip_interval
records, checked = Records(sys.argv[2]), 0
for c in json.loads(pathlib.Path(sys.argv[2], "comparisons.json").read_text()):
    if "treatment" in c and c["metric"] == "test_top1" and c["n_pairs"] == 10:
        rows = [records.rows[c[side]] for side in ("treatment", "control")]
        seeds = sorted(rows[0].keys() & rows[1].keys())
        low, high = sign_flip_interval([float(rows[0][s]["test_top1"]) - float(rows[1][s]["test_top1"]) for s in seeds], 0.95)
        assert abs(low - c["ci95_low"]) < 1e-9 and abs(high - c["ci95_high"]) < 1e-9, (c["sentence"], low, high)
        checked += 1
assert checked >= 5, checked
print("ok %d intervals" % checked)
END
cd "$TEST_TMPDIR/page"
for file in README.md pictures/*.svg; do
  cmp "$file" "$OLDPWD/$results/paper_small/$file"
  echo "ok $file"
done
