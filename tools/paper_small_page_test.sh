#!/bin/bash
# The page and the pictures of results/paper_small are those that its records give.
set -eu
results=results
python3 "$1" "$2" $results/paper_small $results/paper_small_tuning "$TEST_TMPDIR/page"
cd "$TEST_TMPDIR/page"
for file in README.md pictures/*.svg; do
  cmp "$file" "$OLDPWD/$results/paper_small/$file"
  echo "ok $file"
done
