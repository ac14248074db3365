#!/bin/sh
# Runs a test in Python, with torch if it is for this python3; in that case PRUNELAB_TORCH is set, and the test must find it.
site=$TEST_SRCDIR/pytorch/site
suffix=$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
if [ -e "$site/torch/_C$suffix" ]; then
  export PRUNELAB_TORCH=1 PYTHONPATH="$site"
else
  echo "torch's wheel needs CPython 3.11, and $(python3 --version) is another: what needs torch is not tested here"
fi
unset LD_BIND_NOW  # functions of the libraries that are not there are never looked up
export PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1
exec python3 -W "ignore:Failed to initialize NumPy" "$@"
