"""plotly_repository: plotly.js as the Python package plotly ships it, and its licence."""

load("//third_party/libtorch:wheels.bzl", "download_wheels")

def _plotly_repository_impl(ctx):
    download_wheels(ctx, {"plotly==7.1.0": "dbb7fa18afce40d0a8e80d1bf162eceb3faa0ce5a77fe741ad09a74cf78f53f3"})
    ctx.symlink("plotly/package_data/plotly.min.js", "plotly.min.js")
    ctx.file("BUILD.bazel", 'exports_files(["plotly.min.js"])\n')

plotly_repository = repository_rule(implementation = _plotly_repository_impl)
