"""digits_repository: the UCI handwritten digits, as scikit-learn ships them, and their attribution."""

load("//third_party/libtorch:wheels.bzl", "download_wheels")

def _digits_repository_impl(ctx):
    download_wheels(ctx, {"scikit-learn==1.5.2": "f8b0ccd4a902836493e026c03256e8b206656f91fbcc4fde28c57a5b752561f1"})
    for path in ["data/digits.csv.gz", "descr/digits.rst"]:
        ctx.symlink("sklearn/datasets/" + path, "digits/" + path.split("/")[1])
    ctx.symlink("scikit_learn-1.5.2.dist-info/COPYING", "digits/COPYING")
    ctx.file("BUILD.bazel", 'exports_files(["digits/digits.csv.gz", "digits/digits.rst", "digits/COPYING"])\n')

digits_repository = repository_rule(implementation = _digits_repository_impl)
