"""link_only: what is linked of its deps, without their headers and flags.

CUDA's headers bring -isystem flags, by which every file that sees them is another action than without CUDA. Behind link_only those that
do not include them compile once for both.
"""

def _link_only_impl(ctx):
    runfiles = ctx.runfiles()
    for dep in ctx.attr.deps:
        runfiles = runfiles.merge(dep[DefaultInfo].default_runfiles)
    merged = cc_common.merge_cc_infos(cc_infos = [dep[CcInfo] for dep in ctx.attr.deps])
    return [DefaultInfo(runfiles = runfiles), CcInfo(linking_context = merged.linking_context)]

link_only = rule(implementation = _link_only_impl, attrs = {"deps": attr.label_list(providers = [CcInfo])})
